import NIOCore

import class Dispatch.DispatchQueue

/// Runs several event loops on one thread, in virtual time: whatever is due next runs next, and time is what it is due at.
///
/// Nothing here depends on the machine: the same calls give the same run. What happens is written to a log, whose hash tells
/// two runs apart.
final class Simulation: @unchecked Sendable {
    // @unchecked: one thread runs all of a simulation, that of the test.

    /// Something that is to be done on a loop at a time.
    final class Task: @unchecked Sendable {
        // @unchecked: as the simulation.
        let loop: SimulatedLoop
        let isTimer: Bool
        private var body: (@Sendable () -> Void)?

        fileprivate init(_ loop: SimulatedLoop, isTimer: Bool, _ body: @escaping @Sendable () -> Void) {
            self.loop = loop
            self.isTimer = isTimer
            self.body = body
        }

        var isCancelled: Bool { self.body == nil }
        func cancel() { self.body = nil }

        fileprivate func run() {
            let body = self.body
            self.body = nil
            body?()
        }
    }

    private struct Entry {
        let due: NIODeadline
        let order: UInt64
        let task: Task
        func isBefore(_ other: Entry) -> Bool { (self.due, self.order) < (other.due, other.order) }
    }

    private(set) var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    /// The loop whose task runs.
    private(set) var current: SimulatedLoop?
    private var queue: [Entry] = []
    private var order: UInt64 = 0
    private(set) var taskCount = 0

    private(set) var logHash: UInt64 = 0xcbf2_9ce4_8422_2325
    /// What happened, if it is wanted in words.
    private(set) var lines: [String] = []
    private let keepsLines: Bool

    static let startOfTime: UInt64 = 1_800_000_000

    init(keepsLines: Bool = false) { self.keepsLines = keepsLines }

    /// Put a fact on record.
    func log(_ line: @autoclosure () -> String) {
        let line = "\(self.now.uptimeNanoseconds / 1000) \(line())"
        for byte in line.utf8 { self.logHash = (self.logHash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        if self.keepsLines { self.lines.append(line) }
    }

    @discardableResult
    func schedule(
        on loop: SimulatedLoop, at due: NIODeadline, isTimer: Bool = false, _ body: @escaping @Sendable () -> Void
    ) -> Task {
        let task = Task(loop, isTimer: isTimer, body)
        self.insert(task, due: max(due, self.now))
        return task
    }

    fileprivate func insert(_ task: Task, due: NIODeadline) {
        self.order += 1
        let entry = Entry(due: due, order: self.order, task: task)
        // Latest first, so that the next one is the last.
        var (low, high) = (0, self.queue.count)
        while low < high {
            let middle = (low + high) / 2
            if self.queue[middle].isBefore(entry) { high = middle } else { low = middle + 1 }
        }
        self.queue.insert(entry, at: low)
    }

    /// Run what is due until `limit`, or until `isDone` says so.
    func run(until limit: NIODeadline, isDone: () -> Bool = { false }) {
        while let next = self.queue.last, next.due <= limit {
            self.queue.removeLast()
            guard !next.task.isCancelled else { continue }
            self.now = next.due
            guard next.task.loop.admits(next.task) else { continue }
            self.taskCount += 1
            self.current = next.task.loop
            next.task.run()
            self.current = nil
            if isDone() { return }
        }
        self.now = max(self.now, limit)
    }

    func run(for time: TimeAmount) { self.run(until: self.now + time) }

    /// Run `body` as if it were a task of `loop`, at once.
    func on<T>(_ loop: SimulatedLoop, _ body: () throws -> T) rethrows -> T {
        let before = self.current
        self.current = loop
        defer { self.current = before }
        return try body()
    }

    /// Timers that wait on `loop`.
    func timerCount(on loop: SimulatedLoop) -> Int {
        self.queue.count { $0.task.loop === loop && $0.task.isTimer && !$0.task.isCancelled }
    }
}

/// An event loop of a ``Simulation``. It can stand still, as a stopped process does, and die.
///
/// Tasks that prefer it run on it, and so in virtual time and in an order that is the same in each run.
final class SimulatedLoop: EventLoop, TaskExecutor, @unchecked Sendable {
    // @unchecked: as the simulation.

    enum State { case running, frozen, dead }

    let name: String
    private unowned let simulation: Simulation
    private(set) var state = State.running
    /// What became due while it stood still.
    private var held: [Simulation.Task] = []

    init(_ name: String, in simulation: Simulation) {
        self.name = name
        self.simulation = simulation
    }

    var inEventLoop: Bool { self.simulation.current === self }
    var now: NIODeadline { self.simulation.now }

    /// Whether a task may run now.
    fileprivate func admits(_ task: Simulation.Task) -> Bool {
        switch self.state {
        case .running: return true
        case .frozen, .dead:
            self.held.append(task)
            return false
        }
    }

    func freeze() { if self.state == .running { self.state = .frozen } }

    /// Go on. What became due meanwhile comes first, late, in order.
    func thaw() {
        guard self.state == .frozen else { return }
        self.revive()
    }

    /// Do nothing any more.
    func kill() { self.state = .dead }

    /// Let those who look into a dead process see how what it still had to do comes to an end.
    func revive() {
        self.state = .running
        for task in self.held { self.simulation.insert(task, due: self.simulation.now) }
        self.held = []
    }

    func execute(_ task: @escaping @Sendable () -> Void) {
        self.simulation.schedule(on: self, at: self.simulation.now, task)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }

    /// Let the task that calls wait; throws `CancellationError` when it is cancelled.
    func sleep(for time: TimeAmount) async throws {
        try Task.checkCancellation()
        let timer = self.scheduleTask(in: time) {}
        do {
            try await withTaskCancellationHandler {
                try await timer.futureResult.get()
            } onCancel: {
                timer.cancel()
            }
        } catch {
            throw CancellationError()
        }
    }

    func submit<T>(_ task: @escaping @Sendable () throws -> T) -> EventLoopFuture<T> {
        let promise = self.makePromise(of: T.self)
        self.execute { promise.completeWithResult(of: task) }
        return promise.futureResult
    }

    func scheduleTask<T>(
        deadline: NIODeadline, _ task: @escaping @Sendable () throws -> T
    ) -> Scheduled<T> {
        let promise = self.makePromise(of: T.self)
        let entry = self.simulation.schedule(on: self, at: deadline, isTimer: true) {
            promise.completeWithResult(of: task)
        }
        return Scheduled(promise: promise) { entry.cancel() }
    }

    func scheduleTask<T>(in delay: TimeAmount, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        self.scheduleTask(deadline: self.now + delay, task)
    }

    func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        queue.async { callback(nil) }
    }
}

extension EventLoopPromise {
    fileprivate func completeWithResult(of body: () throws -> Value) {
        do {
            self.assumeIsolated().succeed(try body())
        } catch {
            self.fail(error)
        }
    }
}

/// The event loops of one simulated process.
final class SimulatedGroup: EventLoopGroup, @unchecked Sendable {
    // @unchecked: as the simulation.
    let loops: [SimulatedLoop]
    private var turn = 0

    init(_ loops: [SimulatedLoop]) { self.loops = loops }

    /// The loops take turns.
    func next() -> any EventLoop { self.nextSimulated() }
    func nextSimulated() -> SimulatedLoop {
        self.turn += 1
        return self.loops[self.turn % self.loops.count]
    }

    func makeIterator() -> EventLoopIterator { EventLoopIterator(self.loops) }

    func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        queue.async { callback(nil) }
    }
}
