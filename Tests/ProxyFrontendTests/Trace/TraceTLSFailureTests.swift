import Glibc
import NIOCore
import Testing

@testable import ProxyFrontend

@Suite("What failures of TLS mean")
struct TraceTLSFailureTests {
    /// The library's errors as they are printed.
    private enum Printed: Error {
        case sslError(String)
        case failedToValidateHostname, unableToValidateCertificate
    }

    @Test(
        "is told by what the library prints",
        arguments: [
            (
                Printed.sslError("Error: 1 error:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"),
                "unknown issuer, expired, or"
            ),
            (Printed.failedToValidateHostname, "is for another name"),
            (Printed.unableToValidateCertificate, "is for another name"),
            (Printed.sslError("Error: 1 error:OPENSSL_internal:WRONG_VERSION_NUMBER"), "does not speak TLS"),
            (Printed.sslError("Error: 0 EOF during handshake"), "closed the connection"),
            (ChannelError.eof, "closed the connection"),
            (IOError(errnoCode: ECONNRESET, reason: "read"), "closed the connection"),
            (Printed.sslError("other"), "TLS failed: "),
        ] as [(any Error, String)])
    func meaning(error: any Error, text: String) { #expect(TraceTLS.Failure(error).text.contains(text)) }
}
