/// The steps of a client's start, and what it waits on in each.
enum ClientStep {
    case connectingToDirectory, loadingRouters, connectingToGuard, buildingCircuit, ready

    var percent: Int {
        switch self {
        case .connectingToDirectory: 5
        case .loadingRouters: 25
        case .connectingToGuard: 50
        case .buildingCircuit: 75
        case .ready: 100
        }
    }

    var text: String {
        switch self {
        case .connectingToDirectory: "connecting to the directory server"
        case .loadingRouters: "loading the list of onion routers"
        case .connectingToGuard: "connecting to a guard"
        case .buildingCircuit: "building a circuit"
        case .ready: "ready"
        }
    }
}

extension ClientProgress {
    /// A step that takes long, and why.
    init(_ step: ClientStep, because reason: String) {
        self.init(percent: step.percent, text: "\(step.text) (\(reason))")
    }
}

extension ProgressBoard {
    /// Report a step, and why it takes long if it does.
    func report(_ step: ClientStep, because reason: String? = nil) {
        guard let reason else { return self.report(step.percent, step.text) }
        // A step that has to be taken again is worth telling, but not a fall.
        self.report(max(step.percent, self.current.percent), "\(step.text) (\(reason))")
    }
}
