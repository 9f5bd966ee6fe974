import ArgumentParser
import ProxyFrontend
import ThorDaemon

/// A place to listen as `--listen` has it: `ADDRESS:PORT`, or `unix:PATH`.
enum ListenOption: ExpressibleByArgument {
    case address(HostPort)
    case unix(path: String)

    init?(argument: String) {
        if argument.hasPrefix(ProxyListenAddress.unixPrefix) {
            self = .unix(path: String(argument.dropFirst(ProxyListenAddress.unixPrefix.count)))
        } else {
            guard let address = HostPort(argument: argument) else { return nil }
            self = .address(address)
        }
    }
}
