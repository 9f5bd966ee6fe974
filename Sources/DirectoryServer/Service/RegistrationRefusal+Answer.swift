import OnionDirectory

/// What a router is told when its registration is refused: the code for its program, the text for its operator.
extension RegistrationRefusal {
    var code: DirectoryErrorCode {
        switch self {
        case .notAdmitted: .notAllowed
        case .wrongLinkKey: .wrongLinkKey
        case .older: .staleSequence
        case .clockOff: .clockSkew
        case .unusableAddress: .addressNotPublic
        case .unreachable: .unreachable
        case .handshakeFailed: .handshakeFailed
        case .registryFull, .tooManyNewcomers, .tooOften: .busy
        case .superseded: .superseded
        }
    }

    var text: String {
        switch self {
        case .notAdmitted: "this router is not in the directory's allow file; ask its operator to add the fingerprint"
        case .wrongLinkKey: "the connection does not prove the link key that the descriptor names"
        case .older: "a descriptor with a higher sequence is known; is the router running twice?"
        case .clockOff: "the router's clock and the directory's are more than 5 minutes apart"
        case .unusableAddress: "the advertised address is not on the public Internet, or there is more than one"
        case .unreachable:
            "the directory cannot connect to the advertised address; check --advertise, port forwarding and firewall"
        case .handshakeFailed: "something answers at the advertised address, but not as this router"
        case .tooManyNewcomers: "too many new routers register at this moment; try again"
        case .tooOften: "too many registrations of this router, or of new ones from its address; try again later"
        case .registryFull: "the network has as many routers as it may"
        case .superseded: "a newer registration of this router took over; is the router running twice?"
        }
    }
}
