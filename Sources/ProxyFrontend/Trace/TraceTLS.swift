internal import NIOCore
internal import NIOSSL
internal import NIOTLS
internal import OnionAddress
internal import SwiftASN1
internal import X509

/// The TLS of a traced request: as a browser's, with the system's authorities.
struct TraceTLS {
    /// Why there is no TLS connection, in a sentence for people.
    struct Failure: Error, Equatable {
        let text: String

        init(text: String) { self.text = text }

        /// Tell what an error of the library means; its kinds can be told apart by their text alone.
        init(_ error: any Error) {
            let detail = "\(error)"
            self.text =
                if detail.contains("CERTIFICATE_VERIFY_FAILED") {
                    """
                    The server's certificate is not valid here: unknown issuer, expired, or this machine's clock is wrong.
                    """
                } else if detail.contains("failedToValidateHostname") || detail.contains("unableToValidateCertificate")
                {
                    "The server's certificate is for another name."
                } else if detail.contains("WRONG_VERSION_NUMBER") {
                    "The server does not speak TLS on that port."
                } else if error is ChannelError || error is IOError || detail.contains("EOF during") {
                    "The server closed the connection during the TLS handshake."
                } else {
                    "TLS failed: \(detail.prefix(200))."
                }
        }
    }

    /// For names, and for addresses: the library compares an address with the channel's, which here is a Unix socket's.
    private let forNames: NIOSSLContext
    private let forAddresses: NIOSSLContext

    /// - Parameter certificates: PEM file of authorities to trust besides the system's.
    /// - Throws: what the library says of that file.
    init(certificates: String?) throws {
        var configuration = TLSConfiguration.makeClientConfiguration()
        if let certificates { configuration.additionalTrustRoots = [.file(certificates)] }
        configuration.applicationProtocols = ["http/1.1"]
        self.forNames = try NIOSSLContext(configuration: configuration)
        configuration.certificateVerification = .noHostnameVerification
        self.forAddresses = try NIOSSLContext(configuration: configuration)
    }

    /// Do the handshake over a channel whose pipeline holds an ``AnswerHandler``, which is removed.
    ///
    /// - Throws: ``Failure``.
    func handshake(with url: TraceURL, over channel: any Channel, patience: TimeAmount) async throws {
        let completed = channel.eventLoop.makePromise(of: Void.self)
        do {
            try await channel.eventLoop.submit {
                let pipeline = channel.pipeline.syncOperations
                let isAddress = url.address != nil
                // First, as it begins as soon as it is there.
                try pipeline.addHandler(
                    NIOSSLClientHandler(
                        context: isAddress ? self.forAddresses : self.forNames,
                        serverHostname: isAddress ? nil : url.host))
                try pipeline.addHandler(
                    TraceTLSHandler(completed: completed, address: url.address, patience: patience))
                try TraceQuery.removeAnswerHandler(of: channel)
            }.get()
        } catch {
            completed.fail(error)
        }
        do {
            try await completed.futureResult.get()
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(error)
        }
    }

    /// Whether a certificate is for an address.
    static func isFor(_ address: IPAddress, _ certificate: NIOSSLCertificate) -> Bool {
        guard let parsed = try? Certificate(derEncoded: certificate.toDERBytes()),
            let names = try? parsed.extensions.subjectAlternativeNames
        else { return false }
        return names.contains { name in
            if case .ipAddress(let octets) = name { Array(octets.bytes) == address.bytes } else { false }
        }
    }
}

/// Says when the handshake is over, and that the certificate is for the address, where there is one.
private final class TraceTLSHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let completed: EventLoopPromise<Void>
    private let address: IPAddress?
    private let patience: TimeAmount
    private var timer: Scheduled<Void>?

    init(completed: EventLoopPromise<Void>, address: IPAddress?, patience: TimeAmount) {
        self.completed = completed
        self.address = address
        self.patience = patience
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let (completed, seconds) = (self.completed, self.patience.nanoseconds / 1_000_000_000)
        self.timer = context.eventLoop.scheduleTask(in: self.patience) {
            completed.fail(TraceTLS.Failure(text: "The server did not complete the TLS handshake within \(seconds) s."))
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.timer?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent {
            self.timer?.cancel()
            self.judge(context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func judge(_ context: ChannelHandlerContext) {
        guard let address else { return self.completed.succeed() }
        let handler = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
        if let certificate = handler?.peerCertificate, TraceTLS.isFor(address, certificate) {
            self.completed.succeed()
        } else {
            self.completed.fail(TraceTLS.Failure(text: "The server's certificate is not for the address \(address)."))
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.completed.fail(error)
        context.fireErrorCaught(error)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.completed.fail(ChannelError.eof)
        context.fireChannelInactive()
    }
}

@available(*, unavailable)
extension TraceTLSHandler: Sendable {}
