import Testing

@testable import OnionClient

@Suite("Progress board")
struct ProgressBoardTests {
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
