/// Why a directory server cannot start.
package enum DirectoryServerError: Error, Equatable, Sendable {
    /// `errno` is the system's, here and below, if it gave one.
    case cannotListen(host: String, port: UInt16, why: String, errno: CInt? = nil)
    case cannotOpenDatabase(path: String, why: String)
    case cannotReadAllowFile(path: String, why: String, errno: CInt? = nil)
    case malformedAllowFile(path: String, errors: [AllowListError])
}
