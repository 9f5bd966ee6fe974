import NIOCore
import OnionCells
import OnionClient
import Testing

@testable import ProxyFrontend

@Suite("Proxy connection")
struct ProxyConnectionTests {
    private static let request = ProxyRequest.connect(.socks5, "a.test", 80)
    private var limits = ProxyLimits()

    init() {
        self.limits.laterByteCount = 10
        self.limits.lingerByteCount = 10
    }

    private func waiting(early: String = "early") -> ProxyConnection {
        var machine = ProxyConnection(access: .open, limits: self.limits)
        #expect(machine.bytesReceived(ByteBuffer(bytes: SOCKS5Bytes.greeting)) == .send(ByteBuffer(bytes: [5, 0])))
        #expect(machine.advance() == .none)
        #expect(machine.readCompleted() == .read)
        let action = machine.bytesReceived(ByteBuffer(bytes: SOCKS5Bytes.name(bytes("a.test")) + bytes(early)))
        #expect(
            action == .open(host: "a.test", port: 80, Self.request, earlyData: ByteBuffer(string: early)))
        return machine
    }

    @Test("nothing is read while a request waits; what comes is kept in order, up to a limit")
    func later() {
        var machine = self.waiting()
        #expect(machine.readCompleted() == .none)
        #expect(machine.bytesReceived(ByteBuffer(string: "01234")) == .none)
        #expect(machine.streamOpened() == .attach(reply: ProxyReply.connected(.socks5)))
        #expect(machine.bytesReceived(ByteBuffer(string: "56789")) == .none)
        #expect(
            machine.attached()
                == .handOver(later: ByteBuffer(string: "0123456789"), inputClosed: false, forwarding: false))
    }

    @Test("one byte past the limit closes", arguments: [false, true])
    func laterLimit(opened: Bool) {
        var machine = self.waiting()
        if opened { _ = machine.streamOpened() }
        #expect(machine.bytesReceived(ByteBuffer(string: "0123456789")) == .none)
        #expect(machine.bytesReceived(ByteBuffer(string: "x")) == .close)
    }

    @Test("whoever closes his side while waiting, with nothing sent for the stream, has gone")
    func gone() {
        var machine = self.waiting(early: "")
        #expect(machine.inputClosed() == .close)
        #expect(machine.streamOpened() == .discard)
        var speaker = self.waiting(early: "")
        #expect(speaker.bytesReceived(ByteBuffer(string: "x")) == .none)
        #expect(speaker.inputClosed() == .none)
        _ = speaker.streamOpened()
        #expect(
            speaker.attached() == .handOver(later: ByteBuffer(string: "x"), inputClosed: true, forwarding: false))
        // The stream is there: he may want to hear what the other end says first.
        var listener = self.waiting(early: "")
        _ = listener.streamOpened()
        #expect(listener.inputClosed() == .none)
    }

    @Test("a forwarded request is sent whole before its program closes its side")
    func forwardedHalfClose() {
        var machine = ProxyConnection(access: .open, limits: self.limits)
        _ = machine.bytesReceived(ByteBuffer(string: "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"))
        #expect(machine.inputClosed() == .none)
        #expect(machine.streamOpened() == .attach(reply: ProxyReply.connected(.forward)))
    }

    @Test("a half-close during the handshake closes; while waiting, with bytes sent, it is passed on")
    func halfClose() {
        var fresh = ProxyConnection(access: .open, limits: self.limits)
        #expect(fresh.inputClosed() == .close)
        var machine = self.waiting()
        #expect(machine.inputClosed() == .none)
        _ = machine.streamOpened()
        #expect(machine.attached() == .handOver(later: ByteBuffer(), inputClosed: true, forwarding: false))
        var later = self.waiting()
        _ = later.streamOpened()
        #expect(later.inputClosed() == .none)
        #expect(later.attached() == .handOver(later: ByteBuffer(), inputClosed: true, forwarding: false))
    }

    @Test("a stream that comes too late is discarded, a failure then is nothing")
    func tooLate() {
        var machine = self.waiting()
        machine.channelClosed()
        #expect(machine.streamOpened() == .discard)
        #expect(machine.requestFailed(.noCircuit) == .none)
        #expect(machine.attached() == .none)
    }

    @Test("a refusal reads on to the application's end, up to a limit and a time")
    func linger() {
        var machine = self.waiting()
        #expect(
            machine.requestFailed(.ended(.connectionRefused))
                == .sendAndLinger(ByteBuffer(bytes: socks5Failure(5))))
        #expect(machine.readCompleted() == .read)
        #expect(machine.bytesReceived(ByteBuffer(string: "0123456789")) == .none)
        var other = machine
        #expect(other.bytesReceived(ByteBuffer(string: "x")) == .close)
        other = machine
        #expect(other.inputClosed() == .close)
        other = machine
        #expect(other.lingerTimerFired() == .close)
    }

    @Test("the handshake timer closes a handshake, and nothing later")
    func handshakeTimer() {
        var fresh = ProxyConnection(access: .open, limits: self.limits)
        #expect(fresh.handshakeTimerFired() == .close)
        var machine = self.waiting()
        #expect(machine.handshakeTimerFired() == .none)
        #expect(machine.lingerTimerFired() == .none)
    }

    @Test("a look-up ends with its answer")
    func lookUp() {
        var machine = ProxyConnection(access: .open, limits: self.limits)
        _ = machine.bytesReceived(ByteBuffer(bytes: SOCKS5Bytes.greeting))
        let query = SOCKS5Bytes.name(bytes("a.test"), port: 0, command: 0xF0)
        let request = ProxyRequest(
            proxyProtocol: .socks5, target: .lookUp(.addresses(of: "a.test")), credentials: .none)
        #expect(machine.bytesReceived(ByteBuffer(bytes: query)) == .lookUp(.addresses(of: "a.test"), request))
        #expect(
            machine.lookUpCompleted(.failed(.noSuchName)) == .sendAndLinger(ByteBuffer(bytes: socks5Failure(4))))
    }
}
