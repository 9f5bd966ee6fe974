import Foundation
import OnionCrypto
import Testing

@testable import ThorDaemon

@Suite("Key loading")
struct KeyLoadingTests {
    @Test("takes a file for a credential only in the very directory of the service's credentials") func credentials() {
        let environment = ["CREDENTIALS_DIRECTORY": "/run/credentials/thor-router.service"]
        func isCredential(_ path: String) -> Bool { KeyLoading.isCredential(path, environment: environment) }
        #expect(isCredential("/run/credentials/thor-router.service/router.key"))
        #expect(isCredential("/run/credentials//thor-router.service/./router.key"))
        #expect(!isCredential("/run/credentials/thor-router.service/../router.key"))
        #expect(!isCredential("/run/credentials/thor-router.service.d/router.key"))
        #expect(!isCredential("/etc/thor/router.key"))
        #expect(!KeyLoading.isCredential("/etc/thor/router.key", environment: [:]))
        #expect(!KeyLoading.isCredential("/router.key", environment: ["CREDENTIALS_DIRECTORY": ""]))
        #expect(!KeyLoading.isCredential("run/router.key", environment: ["CREDENTIALS_DIRECTORY": "run"]))
    }

    @Test("the mode of a credential does not count, that of any other file does") func mode() throws {
        let path = "\(NSTemporaryDirectory())/thor-key-\(UInt64.random(in: 0 ... .max))"
        try KeyFile.writePrivate(Ed25519PrivateKey(), to: path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        // What a file reads as that an access list opens to one user.
        try FileManager.default.setAttributes([.posixPermissions: 0o440], ofItemAtPath: path)
        #expect(throws: KeyFileError.readableByOthers(path: path, mode: 0o440)) { try KeyFile.readPrivate(path) }
        _ = try KeyFile.readPrivate(path, ownerOnly: false)
    }

    @Test("a daemon's own key is made once, and kept") func ownKey() throws {
        let path = "\(NSTemporaryDirectory())/thor-key-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let key = try KeyLoading.ownKey(path)
        #expect(try KeyLoading.ownKey(path).publicKey == key.publicKey)
        #expect(try KeyFile.readPrivate(path).publicKey == key.publicKey)
    }

    @Test("a daemon's own key that is damaged is to be moved away, not to be made by hand") func damagedOwnKey() throws
    {
        let path = try self.file("thor private key v1 ed25519\nx\n")
        defer { try? FileManager.default.removeItem(atPath: path) }
        let error = try #require(throws: OperatorError.self) { try KeyLoading.ownKey(path) }
        #expect("\(error)" == "the daemon's own key \(path) is damaged. Move it away: it is made anew.")
        #expect(error.status == .badData)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        let open = try #require(throws: OperatorError.self) { try KeyLoading.ownKey(path) }
        #expect(open.advice.contains("chmod 600 \(path)") && open.status == .permission)
    }

    @Test("a password file that is missing or empty is called a password file") func passwordFile() throws {
        let path = try self.file("\n")
        defer { try? FileManager.default.removeItem(atPath: path) }
        let empty = try #require(throws: OperatorError.self) { try KeyLoading.password(path) }
        let missing = try #require(throws: OperatorError.self) { try KeyLoading.password("\(path)-not") }
        #expect(empty.status == .badData && missing.status == .noInput)
        for text in ["\(empty)", "\(missing)"] {
            #expect(text.contains("password file \(path)") && !text.contains("key") && !text.contains("passphrase"))
        }
        try Data("secret\nmore\n".utf8).write(to: URL(fileURLWithPath: path))
        #expect(try KeyLoading.password(path) == Array("secret".utf8))
    }

    @Test("a file that this user may not open ends with the code for permissions, and is no fault of the disk")
    func forbidden() {
        let error = KeyFileError.io(path: "p", operation: "open", errno: EACCES)
        #expect(error.operatorError.status == .permission && !"\(error.operatorError)".contains("disk"))
        #expect(
            KeyLoading.passwordError(error, "p")
                == OperatorError(
                    "the user that this program runs as may not read the password file p",
                    advice: "Make that user its owner, with mode 0600", status: .permission))
        #expect(KeyFileError.io(path: "p", operation: "open", errno: EIO).operatorError.status == .inputOutput)
    }

    private func file(_ text: String) throws -> String {
        let path = "\(NSTemporaryDirectory())/thor-secret-\(UInt64.random(in: 0 ... .max))"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        return path
    }
}
