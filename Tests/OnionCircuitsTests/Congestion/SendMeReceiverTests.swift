import OnionCircuits
import Testing

@Suite("SendMe receiver")
struct SendMeReceiverTests {
    @Test("acknowledges each 32nd cell with its tag, and no other")
    func everyThirtySecond() throws {
        var receiver = SendMeReceiver()
        for number in 1...320 {
            let due = receiver.cellReceived(tag: tag(number))
            #expect(due == (number.isMultiple(of: 32) ? tag(number) : nil))
        }
    }
}
