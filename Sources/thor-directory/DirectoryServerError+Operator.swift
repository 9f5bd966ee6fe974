import DirectoryServer
package import ThorDaemon

extension DirectoryServerError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self {
        case .cannotListen(let host, let port, let why):
            OperatorError(
                "cannot listen on \(HostPort(host: host, port: port)): \(why)",
                advice: "Stop what uses the port, or choose another address or port with --listen", status: .osError)
        case .cannotOpenDatabase(let path, let why):
            OperatorError(
                "cannot use the database \(path): \(why)",
                advice: "Check its permissions and the space on the disk; moved away, it is made anew, and the routers "
                    + "register again",
                status: .inputOutput)
        case .cannotReadAllowFile(let path, let why):
            OperatorError(
                "cannot read the routers' file \(path): \(why)", advice: "Check the path given with --routers",
                status: .noInput)
        case .malformedAllowFile(let path, let errors):
            OperatorError(
                "the routers' file \(path): \(errors.map(\.description).joined(separator: "; "))",
                advice: "Put one fingerprint on each line, as 'thor-keys public' shows it; '#' starts a comment",
                status: .badData)
        }
    }
}
