import ArgumentParser
import OnionCrypto

/// The options that say whether a private key file that is being made is encrypted, and with what.
struct NewPassphrase: ParsableArguments {
    @Flag(
        name: .customLong("passphrase"),
        help: "Encrypt the key with a passphrase, asked for on the terminal. It is needed at every start.")
    var isAsked = false

    @Option(
        name: .customLong("passphrase-file"),
        help: ArgumentHelp(
            "Encrypt the key with the passphrase on the first line of a file that only you can read ('-': standard input).",
            valueName: "file"))
    var file: String?

    var isWanted: Bool { self.isAsked || self.file != nil }

    func validate() throws {
        guard !self.isAsked || self.file == nil else {
            throw ValidationError("Give --passphrase or --passphrase-file, not both.")
        }
    }

    /// Write a key into a new file, encrypted if that is wanted.
    func write(_ key: Ed25519PrivateKey, to path: String) throws {
        var passphrase: [UInt8] = []
        defer { wipe(&passphrase) }
        if let file {
            passphrase = try Passphrase.read(file: file)
        } else if self.isAsked {
            passphrase = try Passphrase.askForNew()
        }
        try KeyFile.writePrivate(key, to: path, passphrase: self.isWanted ? passphrase : nil, overwrite: false)
    }
}
