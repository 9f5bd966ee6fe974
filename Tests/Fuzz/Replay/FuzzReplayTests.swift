import Foundation
import Testing

/// What the fuzzers do with an input, done here without libFuzzer: with every input that once failed, with their seeds, and
/// with changes to those.
@Suite("Fuzz replay")
struct FuzzReplayTests {
    struct Program: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let feed: @Sendable ([UInt8]) -> Bool
        let seeds: [[UInt8]]
    }

    static let programs = [
        Program(testDescription: "FuzzCells", feed: FuzzCells.feed, seeds: FuzzCells.seeds),
        Program(testDescription: "FuzzChat", feed: FuzzChat.feed, seeds: FuzzChat.seeds),
        Program(testDescription: "FuzzCipher", feed: FuzzCipher.feed, seeds: FuzzCipher.seeds),
        Program(testDescription: "FuzzCircuit", feed: FuzzCircuit.feed, seeds: FuzzCircuit.seeds),
        Program(testDescription: "FuzzCircuitRules", feed: FuzzCircuitRules.feed, seeds: FuzzCircuitRules.seeds),
        Program(testDescription: "FuzzCongestion", feed: FuzzCongestion.feed, seeds: FuzzCongestion.seeds),
        Program(testDescription: "FuzzConsensus", feed: FuzzConsensus.feed, seeds: FuzzConsensus.seeds),
        Program(testDescription: "FuzzDescriptor", feed: FuzzDescriptor.feed, seeds: FuzzDescriptor.seeds),
        Program(
            testDescription: "FuzzDirectoryFrames", feed: FuzzDirectoryFrames.feed, seeds: FuzzDirectoryFrames.seeds),
        Program(
            testDescription: "FuzzDirectoryServer", feed: FuzzDirectoryServer.feed, seeds: FuzzDirectoryServer.seeds),
        Program(testDescription: "FuzzExitPolicy", feed: FuzzExitPolicy.feed, seeds: FuzzExitPolicy.seeds),
        Program(testDescription: "FuzzFiles", feed: FuzzFiles.feed, seeds: FuzzFiles.seeds),
        Program(testDescription: "FuzzHTTP", feed: FuzzHTTP.feed, seeds: FuzzHTTP.seeds),
        Program(testDescription: "FuzzHandshake", feed: FuzzHandshake.feed, seeds: FuzzHandshake.seeds),
        Program(testDescription: "FuzzLink", feed: FuzzLink.feed, seeds: FuzzLink.seeds),
        Program(testDescription: "FuzzRelayMessages", feed: FuzzRelayMessages.feed, seeds: FuzzRelayMessages.seeds),
        Program(testDescription: "FuzzRouter", feed: FuzzRouter.feed, seeds: FuzzRouter.seeds),
        Program(testDescription: "FuzzScheduling", feed: FuzzScheduling.feed, seeds: FuzzScheduling.seeds),
        Program(testDescription: "FuzzSOCKS", feed: FuzzSOCKS.feed, seeds: FuzzSOCKS.seeds),
        Program(testDescription: "FuzzStreams", feed: FuzzStreams.feed, seeds: FuzzStreams.seeds),
        Program(testDescription: "FuzzText", feed: FuzzText.feed, seeds: FuzzText.seeds),
        Program(testDescription: "FuzzTicket", feed: FuzzTicket.feed, seeds: FuzzTicket.seeds),
    ]

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    private static func names(in folder: String) throws -> Set<String> {
        Set(try FileManager.default.contentsOfDirectory(atPath: Self.folder.appending(path: folder).path()))
    }

    @Test("every fuzz program is replayed, and every fail case belongs to one")
    func programsAreAll() throws {
        let names = Set(Self.programs.map(\.testDescription))
        #expect(try Self.names(in: "Sources").filter { $0.hasPrefix("Fuzz") && $0 != "FuzzDriver" } == names)
        #expect(try Self.names(in: "FailCases").subtracting(names).isEmpty)
        #expect(try Self.names(in: "Corpus") == names)
    }

    @Test("what failed once does not fail again", arguments: Self.programs)
    func failCases(_ program: Program) throws {
        for input in try Self.inputs(in: "FailCases/\(program.testDescription)") { _ = program.feed(input) }
    }

    @Test("what the fuzzer has found to reach new code goes on without a failure", arguments: Self.programs)
    func corpus(_ program: Program) throws {
        for input in try Self.inputs(in: "Corpus/\(program.testDescription)") { _ = program.feed(input) }
    }

    /// The files of a folder, which need not be there. A failure traps: no expectation would be reached.
    private static func inputs(in folder: String) throws -> [[UInt8]] {
        let folder = Self.folder.appending(path: folder)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
        return try names.sorted().map { Array(try Data(contentsOf: folder.appending(path: $0))) }
    }

    @Test("the seeds reach the end of their decoder", arguments: Self.programs)
    func seeds(_ program: Program) {
        #expect(!program.seeds.isEmpty)
        for (index, seed) in program.seeds.enumerated() {
            #expect(program.feed(seed), "seed \(index)")
        }
    }

    @Test("seeds may end anywhere and be changed anywhere", arguments: Self.programs)
    func changedSeeds(_ program: Program) {
        for seed in program.seeds {
            // About 50 places in each.
            for place in stride(from: 0, to: seed.count, by: max(1, seed.count / 50)) {
                _ = program.feed(Array(seed[..<place]))
                for change in [UInt8(1), 0x80, 0xff] {
                    var changed = seed
                    changed[place] ^= change
                    _ = program.feed(changed)
                }
            }
        }
    }
}
