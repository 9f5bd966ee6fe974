/// Why a directory server cannot start.
package enum DirectoryServerError: Error, Equatable, Sendable {
    case cannotListen(host: String, port: UInt16, why: String)
    case cannotOpenDatabase(path: String, why: String)
    case cannotReadAllowFile(path: String, why: String)
    case malformedAllowFile(path: String, errors: [AllowListError])
}
