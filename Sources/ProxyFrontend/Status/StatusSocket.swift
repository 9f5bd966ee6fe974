/// The Unix socket by which a running proxy tells its user what it does.
///
/// A line comes in, a line of JSON goes out, and the proxy closes: see ``StatusCommand``. `status` is answered by a
/// ``ProxyStatus``, `newnym` by `{"done":"newnym"}`, `trace` by a ``TraceAnswer``, and what is none of them by
/// `{"error":"…"}`. After the answer to a `trace` that succeeded the connection goes on as the stream that was opened.
/// The file is 0600 in the state directory, which is 0700: only the user can open it.
///
/// - Source: DESIGN §11
package enum StatusSocket {
    static let fileName = "status.socket"
    /// The longest line that is taken from whoever asks.
    static let maximumCommandByteCount = 1024
    /// The longest line that is taken from a proxy.
    static let maximumAnswerByteCount = 16 * 1024 * 1024
    /// What fits into `sockaddr_un` on all systems, the terminator left out.
    static let maximumPathByteCount = 103

    /// Return where the socket of a state directory is.
    ///
    /// - Throws: ``ProxyError/statusPathTooLong(path:limit:)``.
    static func path(stateDirectory: String) throws(ProxyError) -> String {
        let path = "\(stateDirectory)/\(Self.fileName)"
        guard path.utf8.count <= Self.maximumPathByteCount else {
            throw .statusPathTooLong(path: path, limit: Self.maximumPathByteCount)
        }
        return path
    }
}
