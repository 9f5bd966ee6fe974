import ArgumentParser
import OnionCrypto

/// `thor-keys public`: the public half of a private key, in a file of its own.
struct Public: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write the public half of a private key.",
        discussion: """
            Writes one line of text that anybody may have, and prints the same on standard output. The directory \
            server's goes to every router and proxy. A file that exists is never overwritten. For an encrypted key, \
            the passphrase is asked for on the terminal.
            """)

    @Argument(help: ArgumentHelp("A file made by 'thor-keys generate'.", valueName: "private-key-file"))
    var privateKeyFile: String

    @Argument(help: ArgumentHelp("The file to make.", valueName: "public-key-file"))
    var publicKeyFile: String

    @Option(
        help: ArgumentHelp(
            "Read the passphrase of an encrypted key from the first line of a file ('-': standard input).",
            valueName: "file"))
    var passphraseFile: String?

    func run() throws {
        let key = try readPrivateKey(self.privateKeyFile, passphraseFile: self.passphraseFile)
        try reportingErrors(creating: self.publicKeyFile) {
            try KeyFile.writePublic(key.publicKey, to: self.publicKeyFile)
            say("Wrote the public key to '\(self.publicKeyFile)'.")
            print(key.publicKey.base64URL)
        }
    }
}
