import Testing

@testable import OnionClient

@Suite("Progress board")
struct ProgressBoardTests {
    @Test("what is news is told once, and the percentage never falls")
    func news() async {
        let board = ProgressBoard()
        var updates = board.updates().makeAsyncIterator()
        _ = await updates.next()
        board.report(25, "one")
        board.report(25, "one")
        board.report(5, "behind")
        board.report(25, "two")
        board.report(100, "ready")
        board.report(100, "more")
        board.finish()
        var told: [String] = []
        while let progress = await updates.next() { told.append(progress.text) }
        #expect(told == ["one", "two", "ready"])
        #expect(board.current.text == "ready")
    }

    @Test("a step that has to be taken again is told with its reason, at the percentage that was reached")
    func again() {
        let board = ProgressBoard()
        board.report(.loadingRouters, because: "x")
        #expect(board.current == ClientProgress(percent: 25, text: "loading the list of onion routers (x)"))
        board.report(.buildingCircuit)
        board.report(.connectingToGuard, because: "y")
        #expect(board.current == ClientProgress(percent: 75, text: "connecting to a guard (y)"))
    }

    @Test("what stands in the way after the start is told once, and that it is gone; the start itself is over")
    func afterStart() async {
        let board = ProgressBoard()
        let (ready, obstacle) = (ClientProgress(percent: 100, text: "ready"), ClientProgress(percent: 50, text: "x"))
        board.reportAfterStart(obstacle)
        board.report(100, "ready")
        var updates = board.updates().makeAsyncIterator()
        for progress in [ready, obstacle, obstacle, ready, obstacle] { board.reportAfterStart(progress) }
        #expect(board.current == ready)
        var late = board.updates().makeAsyncIterator()
        board.finish()
        var told: [ClientProgress] = []
        while let progress = await updates.next() { told.append(progress) }
        #expect(told == [ready, obstacle, ready, obstacle])
        #expect(await late.next() == obstacle)
    }

    @Test("whoever asks after the end hears nothing more")
    func over() async {
        let board = ProgressBoard()
        var before = board.updates().makeAsyncIterator()
        #expect(await before.next() == ClientProgress(percent: 0, text: "starting"))
        board.finish()
        #expect(await before.next() == nil)
        var after = board.updates().makeAsyncIterator()
        #expect(await after.next() == nil)
    }
}
