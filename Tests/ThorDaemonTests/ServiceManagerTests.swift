import Foundation
import Glibc
import Testing

@testable import ThorDaemon

@Suite("Service manager")
struct ServiceManagerTests {
    @Test("hears what the daemon says, by path and by abstract name", arguments: [NotifySocket.Kind.path, .abstract])
    func messages(_ kind: NotifySocket.Kind) throws {
        let socket = try NotifySocket(kind)
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        manager.status("25% loading the list of onion routers")
        manager.ready("listening")
        manager.watchdog()
        manager.stopping()
        #expect(socket.next() == "STATUS=25% loading the list of onion routers")
        #expect(socket.next() == "READY=1\nSTATUS=listening")
        #expect(socket.next() == "WATCHDOG=1")
        #expect(socket.next() == "STOPPING=1\nSTATUS=stopping")
        #expect(socket.next(within: .zero) == nil)
    }

    @Test("a name leaves room for the zero that ends a path", arguments: [(107, "READY=1\nSTATUS=x"), (108, nil)])
    func longestName(byteCount: Int, heard: String?) throws {
        let socket = try NotifySocket(.abstract, byteCount: byteCount)
        ServiceManager(environment: ["NOTIFY_SOCKET": socket.name]).ready("x")
        #expect(socket.next(within: .zero) == heard)
    }

    @Test("a status cannot hold a message of its own") func oneLine() throws {
        let socket = try NotifySocket(.abstract)
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        manager.status("all is well\nMAINPID=1\r\nREADY=1")
        #expect(socket.next() == "STATUS=all is well MAINPID=1 READY=1")
    }

    @Test(
        "there may be none, and it may be gone",
        arguments: [
            "", "relative", "/nowhere/at/all", "@thor-nobody-listens", "/" + String(repeating: "x", count: 200),
        ])
    func nobody(_ name: String) {
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": name])
        manager.ready("and nobody hears it")
        ServiceManager(environment: [:]).ready("nor this")
    }

    @Test("a relative path is none, though somebody listens there") func relativePath() throws {
        let socket = try NotifySocket(.path)
        let depth = FileManager.default.currentDirectoryPath.split(separator: "/").count
        let name = String(repeating: "../", count: depth) + socket.name.drop { $0 == "/" }
        #expect(FileManager.default.fileExists(atPath: name))
        ServiceManager(environment: ["NOTIFY_SOCKET": name]).ready("and nobody hears it")
        #expect(socket.next(within: .zero) == nil)
    }

    @Test("one that does not read its messages holds nobody up") func full() throws {
        let socket = try NotifySocket(.abstract)
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": socket.name])
        // More than any system queues.
        for _ in 0..<10_000 { manager.watchdog() }
        #expect(socket.next() == "WATCHDOG=1")
    }

    @Test("watches only the process that it names, for a time that makes sense") func watchdogTime() {
        func time(_ environment: [String: String]) -> Duration? {
            ServiceManager(environment: environment).watchdogTime
        }
        #expect(time(["WATCHDOG_USEC": "30000000"]) == .seconds(30))
        #expect(time(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "\(getpid())"]) == .seconds(30))
        #expect(time(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"]) == nil)
        #expect(time(["WATCHDOG_USEC": "0"]) == nil)
        #expect(time(["WATCHDOG_USEC": "-1"]) == nil)
        #expect(time(["WATCHDOG_USEC": "soon"]) == nil)
        #expect(time([:]) == nil)
    }
}
