#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Why a key file could not be read or written. Its description is for the operator: what is wrong, where, what to do.
public enum KeyFileError: Error, Equatable, Sendable {
    case fileNotFound(path: String)
    /// Somebody other than the owner may open it. `mode` is its permission bits.
    case readableByOthers(path: String, mode: UInt32)
    /// It is not a key file of the kind asked for; `what` says how.
    case malformed(path: String, what: String)
    case wrongPassphrase(path: String)
    /// It is encrypted, and no passphrase was given; or one that is empty.
    case passphraseNeeded(path: String)
    /// The passphrase could not be had; `why` is its source's own message.
    case passphraseUnavailable(path: String, why: String)
    /// There is a file already, and overwriting it was not asked for.
    case exists(path: String)
    /// The operating system refused; `operation` is what was tried.
    case io(path: String, operation: String, errno: Int32)
}

extension KeyFileError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .fileNotFound(let path):
            return "There is no key file '\(path)'. Check the path; 'thor-keys generate' makes a new private key, "
                + "'thor-keys public' writes its public half."
        case .readableByOthers(let path, let mode):
            let octal = String(mode, radix: 8)
            let padded = String(repeating: "0", count: max(0, 4 - octal.count)) + octal
            return "The file '\(path)' is open to other users (mode \(padded)). Run 'chmod 600 \(path)', or, where "
                + "that changes nothing (on a memory stick), do so with a copy on a disk; and if others may have read "
                + "it, make a new one."
        case .malformed(let path, let what):
            return "The file '\(path)' is not what it should be: \(what)."
        case .wrongPassphrase(let path):
            return "The passphrase does not open the key file '\(path)', or the file has been altered. Check the "
                + "passphrase and try again."
        case .passphraseNeeded(let path):
            return "The key file '\(path)' is encrypted. Give its passphrase."
        case .passphraseUnavailable(let path, let why):
            return "The key file '\(path)' is encrypted, and its passphrase could not be read: \(why)"
        case .exists(let path):
            return "There is a file '\(path)' already, and it was left as it is. Choose another name, or move that "
                + "file away first."
        case .io(let path, let operation, let errno):
            return "Could not \(operation) '\(path)': \(String(cString: strerror(errno))). Check the directory, its "
                + "permissions and the space on the disk."
        }
    }
}
