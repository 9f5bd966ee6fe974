/// What a program of ours tells its caller when it ends: the codes of sysexits.h, in one table.
package enum ExitStatus: Int32, Sendable, CaseIterable {
    case success = 0
    /// The command line is wrong. ArgumentParser uses the same code for what it refuses itself.
    case usage = 64
    /// An input file is not what it should be, for example a damaged key file.
    case badData = 65
    /// An input file is not there.
    case noInput = 66
    /// A service that is needed cannot be reached.
    case unavailable = 69
    /// A bug of ours.
    case software = 70
    /// The system refused something, for example a port.
    case osError = 71
    /// A file or directory cannot be made.
    case cannotCreate = 73
    /// Reading or writing failed.
    case inputOutput = 74
    /// It may work later: a state directory in use, or a clock that is off.
    case temporary = 75
    /// The peer does not speak as agreed, for example under another directory key.
    case wrongProtocol = 76
    /// A file's permissions are wrong, for example a private key that others can read.
    case permission = 77
    /// The configuration contradicts itself.
    case configuration = 78
}
