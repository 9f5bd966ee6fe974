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

    @Flag(
        name: .customLong("passphrase"),
        help: "Encrypt the key with a passphrase, asked for on the terminal. It is needed at every start.")
    var asksPassphrase = false

    @Option(
        help: ArgumentHelp(
            "Encrypt the key with the passphrase on the first line of a file that only you can read ('-': standard input).",
            valueName: "file"))
    var passphraseFile: String?

    func validate() throws {
        guard !self.asksPassphrase || self.passphraseFile == nil else {
            throw ValidationError("Give --passphrase or --passphrase-file, not both.")
        }
    }

    func run() throws {
        try reportingErrors(creating: self.privateKeyFile) {
            var passphrase: [UInt8]?
            if let passphraseFile = self.passphraseFile {
                passphrase = try Passphrase.read(file: passphraseFile)
            } else if self.asksPassphrase {
                passphrase = try Passphrase.askForNew()
            }
            let key = Ed25519PrivateKey()
            try KeyFile.writePrivate(key, to: self.privateKeyFile, passphrase: passphrase, overwrite: false)
            say("Wrote a new private key to '\(self.privateKeyFile)'. Keep it secret, and keep a copy in a safe place.")
            print(key.publicKey.base64URL)
        }
    }
}
