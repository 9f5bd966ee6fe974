import ArgumentParser
import OnionCrypto

/// `thor-keys generate`: a new private key in a new file.
struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a new private key.",
        discussion: """
            Writes a new file that only you can read, and prints the key's fingerprint (its public half, 43 characters) \
            on standard output. For a router, the fingerprint is what goes into the directory server's file of allowed \
            routers. A file that exists is never overwritten.
            """)

    @Argument(help: ArgumentHelp("The file to make.", valueName: "private-key-file"))
    var privateKeyFile: String

    @OptionGroup var passphrase: NewPassphrase

    func run() throws {
        try reportingErrors(creating: self.privateKeyFile) {
            let key = Ed25519PrivateKey()
            try self.passphrase.write(key, to: self.privateKeyFile)
            say("Wrote a new private key to '\(self.privateKeyFile)'. Keep it secret, and keep a copy in a safe place.")
            print(key.publicKey.base64URL)
        }
    }
}
