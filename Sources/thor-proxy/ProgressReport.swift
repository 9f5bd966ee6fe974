import OnionClient
import ServiceLifecycle
import ThorDaemon

/// Tells on standard output, and to the service manager, how the start goes on: `NN% text` lines, and `ready` at the first
/// open circuit. What stands in the way after that is the service manager's alone.
struct ProgressReport: Service, CustomStringConvertible {
    let progress: AsyncStream<ClientProgress>

    var description: String { "progress report" }

    func run() async throws {
        var wasReady = false
        for await progress in self.progress.cancelOnGracefulShutdown() {
            let step = "\(progress.percent)% \(progress.text)"
            if !wasReady { StandardOutput.line(step) }
            if progress.isReady, !wasReady {
                wasReady = true
                StandardOutput.ready()
                ServiceManager.ofProcess.ready("ready")
            } else {
                ServiceManager.ofProcess.status(progress.isReady ? "ready" : step)
            }
        }
        // A service that returns ends the daemon, and there may just be no more to tell.
        try? await gracefulShutdown()
    }
}
