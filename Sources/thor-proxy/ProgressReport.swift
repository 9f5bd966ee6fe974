import OnionClient
import ServiceLifecycle
import ThorDaemon

/// Tells on standard output, and to the service manager, how the start goes on: `NN% text` lines, and `ready` at the first
/// open circuit.
struct ProgressReport: Service, CustomStringConvertible {
    let progress: AsyncStream<ClientProgress>

    var description: String { "progress report" }

    func run() async throws {
        var wasReady = false
        for await progress in self.progress.cancelOnGracefulShutdown() {
            StandardOutput.line("\(progress.percent)% \(progress.text)")
            if progress.isReady, !wasReady {
                wasReady = true
                StandardOutput.ready()
                ServiceManager.ofProcess.ready("ready")
            } else {
                ServiceManager.ofProcess.status("\(progress.percent)% \(progress.text)")
            }
        }
        // A service that returns ends the daemon, and there may just be no more to tell.
        try? await gracefulShutdown()
    }
}
