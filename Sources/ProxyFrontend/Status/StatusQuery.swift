/// Asks a running proxy for its status, or for a new identity, over the ``StatusSocket``.
package enum StatusQuery {
    /// Ask the proxy of a state directory.
    ///
    /// - Returns: the status, and the JSON line it came as.
    /// - Throws: ``ProxyError``: no proxy runs there, it may not be asked, it does not answer.
    package static func ask(stateDirectory: String) async throws -> (status: ProxyStatus, json: String) {
        let answer = try await StatusConnection.ask(StatusCommand.statusLine, stateDirectory: stateDirectory)
        return (try answer.decode(ProxyStatus.self), answer.line)
    }

    /// Let no circuit of now carry new streams.
    ///
    /// - Throws: ``ProxyError``, as ``ask(stateDirectory:)`` does.
    package static func newIdentity(stateDirectory: String) async throws {
        let answer = try await StatusConnection.ask(StatusCommand.newIdentityLine, stateDirectory: stateDirectory)
        guard answer.line.contains("\"done\"") else { throw answer.unreadable }
    }
}
