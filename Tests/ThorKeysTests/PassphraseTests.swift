import Foundation
import Testing

@testable import thor_keys

@Suite("Passphrases of thor-keys")
struct PassphraseTests {
    @Test("a line of standard input is taken byte by byte, and what follows stays for the next")
    func lines() throws {
        let pipe = Pipe()
        // The last is no UTF-8, and has no newline.
        pipe.fileHandleForWriting.write(Data("a b\nc\r\n\n".utf8) + [0xFF])
        try pipe.fileHandleForWriting.close()
        let descriptor = pipe.fileHandleForReading.fileDescriptor
        #expect(Passphrase.line(from: descriptor) == Array("a b".utf8))
        #expect(Passphrase.line(from: descriptor) == Array("c".utf8))
        #expect(Passphrase.line(from: descriptor).isEmpty)
        #expect(Passphrase.line(from: descriptor) == [0xFF])
        #expect(Passphrase.line(from: descriptor).isEmpty)
    }

    @Test("a new passphrase is asked for twice, and has to be the same, and something")
    func twice() throws {
        func ask(_ answers: [[UInt8]?]) throws -> ([UInt8], asked: Int) {
            var asked = 0
            let passphrase = try Passphrase.askForNew { _ throws(Passphrase.Failure) in
                asked += 1
                guard let answer = answers[asked - 1] else { throw .interrupted }
                return answer
            }
            return (passphrase, asked)
        }
        let (passphrase, asked) = try ask([[1, 2], [1, 2]])
        #expect(passphrase == [1, 2] && asked == 2)
        #expect(throws: Passphrase.Failure.mismatch) { try ask([[1, 2], [1, 3]]) }
        #expect(throws: Passphrase.Failure.empty) { try ask([[]]) }
        #expect(throws: Passphrase.Failure.interrupted) { try ask([[1, 2], nil]) }
    }
}
