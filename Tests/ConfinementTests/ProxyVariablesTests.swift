import Testing

@testable import Confinement

@Suite("Proxy variables")
struct ProxyVariablesTests {
    @Test("names go to the proxy by each of them, nothing is left out, and the rest stays")
    func plain() {
        let result = ProxyVariables(port: 1234).applied(
            to: ["HOME": "/root", "no_proxy": "localhost", "http_proxy": "http://other"], hasNetcat: false)
        for name in ["ALL_PROXY", "all_proxy"] { #expect(result[name] == "socks5h://127.0.0.1:1234") }
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ftp_proxy"] {
            #expect(result[name] == "http://127.0.0.1:1234")
        }
        #expect(result["no_proxy"] == "" && result["NO_PROXY"] == "" && result["HOME"] == "/root")
        #expect(result["RSYNC_PROXY"] == "127.0.0.1:1234" && result["GIT_SSH_COMMAND"] == nil)
    }

    @Test("a user name and a password are part of each, escaped as in a URL")
    func credentials() {
        let result = ProxyVariables(port: 1, userName: "country-se+a", password: "p@ss:/").applied(
            to: [:], hasNetcat: true)
        #expect(result["ALL_PROXY"] == "socks5h://country-se%2Ba:p%40ss%3A%2F@127.0.0.1:1")
        // ssh's helper could not say them.
        #expect(result["GIT_SSH_COMMAND"] == nil)
    }

    @Test("ssh goes through nc for git, unless the user has a command of his own")
    func git() {
        let variables = ProxyVariables(port: 9)
        #expect(
            variables.applied(to: [:], hasNetcat: true)["GIT_SSH_COMMAND"]?.contains("-x 127.0.0.1:9 %h %p") == true)
        #expect(variables.applied(to: ["GIT_SSH_COMMAND": "mine"], hasNetcat: true)["GIT_SSH_COMMAND"] == "mine")
        #expect(variables.applied(to: ["GIT_SSH": "mine"], hasNetcat: true)["GIT_SSH_COMMAND"] == nil)
    }
}
