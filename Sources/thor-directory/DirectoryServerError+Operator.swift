import DirectoryServer
package import ThorDaemon

import var Glibc.EACCES

extension DirectoryServerError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self {
        case .cannotListen(let host, let port, let why, let errno):
            .cannotListen(on: "\(HostPort(host: host, port: port))", why: why, errno: errno)
        case .cannotOpenDatabase(let path, let why):
            OperatorError(
                "cannot use the database \(path): \(why)",
                advice: "Check its permissions and the space on the disk; moved away, it is made anew, and the routers "
                    + "register again",
                status: .inputOutput)
        case .cannotReadAllowFile(let path, let why, EACCES):
            OperatorError(
                "cannot read the routers' file \(path): \(why)",
                advice: "Let the user that the directory server runs as read it; it is no secret: chmod 644 \(path)",
                status: .permission)
        case .cannotReadAllowFile(let path, let why, _):
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
