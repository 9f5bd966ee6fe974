import ArgumentParser
import OnionCrypto

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Say something to the person, on standard error.
func say(_ message: String) {
    let line = "thor-keys: \(message)\n"
    _ = write(STDERR_FILENO, line, line.utf8.count)
}

/// Do something; if it fails, say why on standard error and end with the code of sysexits.h for it.
///
/// - Parameter path: the file being made, if one is.
func reportingErrors<R>(creating path: String? = nil, _ body: () throws -> R) throws -> R {
    do {
        return try body()
    } catch let error as KeyFileError {
        say(error.description)
        throw ExitCode(exitCode(of: error, creating: path))
    } catch let error as Passphrase.Failure {
        say(error.description)
        throw ExitCode(error == .interrupted ? 130 : EX_USAGE)
    }
}

/// Read a private key; if it is encrypted, with the passphrase of a file, or one that is asked for on the terminal.
func readPrivateKey(_ path: String, passphraseFile: String?) throws -> Ed25519PrivateKey {
    try reportingErrors {
        try KeyFile.readPrivate(path) {
            if let passphraseFile { return try Passphrase.read(file: passphraseFile) }
            return try Passphrase.ask("Passphrase of '\(path)': ")
        }
    }
}

private func exitCode(of error: KeyFileError, creating path: String?) -> Int32 {
    switch error {
    case .fileNotFound, .passphraseUnavailable: EX_NOINPUT
    case .readableByOthers: EX_NOPERM
    case .malformed, .wrongPassphrase: EX_DATAERR
    case .passphraseNeeded: EX_USAGE
    case .exists: EX_CANTCREAT
    case .io(let failed, _, let code):
        if failed == path { EX_CANTCREAT } else if code == EACCES || code == EPERM { EX_NOPERM } else { EX_IOERR }
    }
}
