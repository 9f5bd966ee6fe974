import OnionAddress
import OnionCells

extension Resolved {
    /// What a program may be told of an exit's answer: no address that leads back to its own machine or network.
    ///
    /// A program that believed one would connect to it past the proxy, to whatever the exit, or the owner of the name, wants
    /// touched. An honest exit tells none either, unless its policy opens them.
    ///
    /// - Parameter allowsLoopback: whether the network is a test's on one machine.
    func withoutPrivateAddresses(allowsLoopback: Bool) -> Resolved {
        guard !allowsLoopback, case .answers(let answers) = self else { return self }
        let left = answers.filter { answer in
            guard case .address(let address) = answer.value else { return true }
            return SpecialPurpose.isPublicInternet(address)
        }
        return left.isEmpty ? .failed(.noSuchName) : .answers(left)
    }
}
