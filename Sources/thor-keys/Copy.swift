import ArgumentParser
import OnionCrypto

/// `thor-keys copy`: the same private key in a new file, with another passphrase or with none.
struct Copy: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a private key into a new file, with another passphrase or none.",
        discussion: """
            The key stays the same, and so does its public half, which is printed on standard output. With --passphrase or \
            --passphrase-file the new file is encrypted, as a backup should be; without, it is not, as a daemon wants it \
            that starts with nobody there. The old file stays as it is, and a file that exists is never overwritten. For \
            an encrypted key, the old passphrase is asked for on the terminal.
            """)

    @Argument(help: ArgumentHelp("A file made by 'thor-keys generate' or 'copy'.", valueName: "private-key-file"))
    var privateKeyFile: String

    @Argument(help: ArgumentHelp("The file to make.", valueName: "new-file"))
    var newFile: String

    @OptionGroup var passphrase: NewPassphrase

    @Option(
        help: ArgumentHelp(
            "Read the old passphrase from the first line of a file that only you can read ('-': standard input).",
            valueName: "file"))
    var oldPassphraseFile: String?

    func run() throws {
        let key = try readPrivateKey(self.privateKeyFile, passphraseFile: self.oldPassphraseFile)
        try reportingErrors(creating: self.newFile) {
            try self.passphrase.write(key, to: self.newFile)
            say(
                "Wrote the private key to '\(self.newFile)', "
                    + (self.passphrase.isWanted ? "encrypted." : "not encrypted: whoever reads that file has the key."))
            print(key.publicKey.base64URL)
        }
    }
}
