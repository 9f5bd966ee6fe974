import Foundation
import ThorDaemon
import ThorTestnet

/// Where this program is, and the daemons that it starts.
struct Programs {
    let own: String
    let directory: String

    /// - Parameter directory: where the daemons' executables are; nil for where this program is.
    init(directory: String?) throws(OperatorError) {
        guard let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") else {
            throw OperatorError(
                "cannot find out where this program is", advice: "Mount /proc", status: .osError)
        }
        self.own = own
        self.directory = directory ?? URL(fileURLWithPath: own).deletingLastPathComponent().path
        for name in [DaemonRole.directory, .router(0), .proxy].map(\.executable) {
            guard FileManager.default.isExecutableFile(atPath: "\(self.directory)/\(name)") else {
                throw OperatorError(
                    "there is no program \(name) in \(self.directory)",
                    advice: "Build everything: swift build -c release", status: .noInput)
            }
        }
    }
}
