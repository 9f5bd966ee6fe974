import NIOCore
import TestSupport

/// What goes wrong in a run, and what the run is about; all of it follows from the seed.
struct FaultPlan {
    /// One fault. Numbers choose among what there is at that moment.
    enum Fault: Equatable {
        enum Side: Int, CaseIterable { case forward, backward, both }

        // A connection between two nodes.
        case cutLink(Int)
        case halfCloseLink(Int, Side)
        case freezeLink(Int, Side, TimeAmount)
        case delayLink(Int, TimeAmount)
        case severLink(Int)
        // A router's process, or its whole machine.
        case killRouter(Int, restartAfter: TimeAmount?)
        case stopRouter(Int, restartAfter: TimeAmount?)
        case vanishRouter(Int)
        case freezeRouter(Int, TimeAmount)
        case exhaustRouter(Int, TimeAmount)
        // The proxy's process.
        case freezeClient(TimeAmount)
        case killClient
        // The directory server.
        case refuseRouter(Int, TimeAmount)
        case killDirectory(restartAfter: TimeAmount?)
        case freezeDirectory(TimeAmount)
        case cutDirectoryLink(Int)
        case severDirectoryLink(Int)
        case freezeDirectoryLink(Int, Side, TimeAmount)
        case fillDirectoryDisk(TimeAmount)
        // The ends.
        case cutApplication(Int)
        case cutDestination(Int)
        case freezeDestination(Int, TimeAmount)
        case refusingDestinations(TimeAmount)
        case silentDestinations(TimeAmount)
        case failingNames(TimeAmount)
        case silentNames(TimeAmount)
        // The clock of a node, or of all.
        case clockJump(Int, seconds: Int64)

        static let kindCount = 27

        /// What kind of fault it is, without its numbers.
        var kind: String { String(describing: self).prefix { $0 != "(" }.description }
    }

    let seed: UInt64
    let transfers: [Transfer]
    /// After how many deliveries, of all connections together, what goes wrong.
    let faults: [(after: Int, fault: Fault)]
    let loopsPerRouter: Int
    let latency: TimeAmount
    /// How much one read brings: cells come in pieces.
    let readByteCount: Int

    static let routerCount = 4

    /// - Parameter faultCount: nil lets the seed say.
    init(seed: UInt64, faultCount: Int? = nil, kind: Int? = nil) {
        var random = SplitMix64(seed)
        func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }
        func milliseconds(_ range: ClosedRange<Int64>) -> TimeAmount {
            .milliseconds(Int64.random(in: range, using: &random))
        }
        self.seed = seed
        self.loopsPerRouter = 1 + below(2)
        self.latency = milliseconds(1...40)
        self.readByteCount = [1460, 4096, 16_384, 262_144][below(4)]
        let isHeavy = below(12) == 0
        self.transfers = (0..<2 + below(4)).map { index in
            let request = [1, 700, 5000, 30_000][below(4)]
            let response = [0, 1, 3000, 20_000, 60_000][below(5)]
            return Transfer(
                index: index, startsAfter: milliseconds(0...1500), requestByteCount: request,
                responseByteCount: isHeavy && index == 0 ? 1_200_000 : response,
                earlyByteCount: below(3) == 0 ? min(request, 400) : 0, halfCloses: below(2) == 0,
                isSlow: isHeavy && below(2) == 0, user: below(3))
        }
        let count = faultCount ?? 1 + below(4)
        self.faults = (0..<count).map { _ in
            (1 + below(below(3) == 0 ? 600 : 220), Self.fault(kind ?? below(Fault.kindCount), &random))
        }
    }

    private static func fault(_ kind: Int, _ random: inout SplitMix64) -> Fault {
        let pick = Int.random(in: 0..<1000, using: &random)
        let side = Fault.Side.allCases[Int.random(in: 0..<3, using: &random)]
        // Some are over before anybody can notice, some are not.
        let time = TimeAmount.milliseconds([100, 1500, 3000, 8000, 40_000][Int.random(in: 0..<5, using: &random)])
        let restart = Bool.random(using: &random) ? time : nil
        switch kind {
        case 0: return .cutLink(pick)
        case 1: return .halfCloseLink(pick, side)
        case 2: return .freezeLink(pick, side, time)
        case 3: return .delayLink(pick, .milliseconds(Int64(pick)))
        case 4: return .severLink(pick)
        case 5: return .killRouter(pick, restartAfter: restart)
        case 6: return .stopRouter(pick, restartAfter: restart)
        case 7: return .vanishRouter(pick)
        case 8: return .freezeRouter(pick, time)
        case 9: return .exhaustRouter(pick, time)
        case 10: return .freezeClient(time)
        case 11: return .killClient
        case 12: return .refuseRouter(pick, time)
        case 13: return .cutApplication(pick)
        case 14: return .cutDestination(pick)
        case 15: return .freezeDestination(pick, time)
        case 16: return .refusingDestinations(time)
        case 17: return .silentDestinations(time)
        case 18: return .failingNames(time)
        case 19: return .silentNames(time)
        case 20: return .killDirectory(restartAfter: restart)
        case 21: return .freezeDirectory(time)
        case 22: return .cutDirectoryLink(pick)
        case 23: return .severDirectoryLink(pick)
        case 24: return .freezeDirectoryLink(pick, side, time)
        case 25: return .fillDirectoryDisk(time)
        default: return .clockJump(pick / 4, seconds: [-86_400, -600, 600, 86_400][pick % 4])
        }
    }
}
