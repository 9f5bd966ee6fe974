import GRDB
import OnionCrypto
import OnionDirectory

import struct Foundation.Data

/// Keeps the registry in one SQLite file, so that a restart of the server loses nothing.
///
/// What is listed is stored with the revision that lists it, in one transaction and before anybody sees it: a revision is
/// never given out twice, and the newest one is on disk.
///
/// - Source: DESIGN §9
package struct RegistryStore: Sendable {
    /// What was stored.
    package struct Content: Sendable {
        package var routers: [StoredRouter]
        package var lastRevision: UInt64
        /// Rows that could not be read back, for example after a change of format; they are left out.
        package var damagedCount: Int
    }

    let database: DatabaseQueue

    /// Open or make the file at `path`.
    ///
    /// - Throws: what SQLite says: the path cannot be written, or is not a database.
    package init(path: String) throws {
        var configuration = Configuration()
        configuration.busyMode = .timeout(2)
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA journal_mode = WAL")
            try database.execute(sql: "PRAGMA synchronous = FULL")
        }
        self.database = try DatabaseQueue(path: path, configuration: configuration)
        try Self.migrations.migrate(self.database)
    }

    private static var migrations: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { database in
            try database.create(table: "router") { table in
                table.primaryKey("identity", .blob)
                table.column("descriptor", .blob).notNull()
                table.column("firstSeen", .integer).notNull()
                table.column("lastSeen", .integer).notNull()
                table.column("isListed", .boolean).notNull()
            }
            try database.create(table: "directory") { table in
                table.primaryKey("id", .integer).check { $0 == 1 }
                table.column("lastRevision", .integer).notNull()
            }
        }
        return migrator
    }

    /// Read everything; descriptors are verified again.
    package func load() throws -> Content {
        try self.database.read { database in
            var content = Content(routers: [], lastRevision: 0, damagedCount: 0)
            let revision = try Int64.fetchOne(database, sql: "SELECT lastRevision FROM directory WHERE id = 1")
            content.lastRevision = revision.flatMap { UInt64(exactly: $0) } ?? 0
            let rows = try Row.fetchAll(
                database, sql: "SELECT descriptor, firstSeen, lastSeen, isListed FROM router ORDER BY identity")
            for row in rows {
                // SQLite keeps whatever type is written; GRDB ends the process when asked for another, unless asked like this.
                func value<T: DatabaseValueConvertible>(_ column: String) -> T? {
                    T.fromDatabaseValue(row[column] as DatabaseValue)
                }
                guard let bytes: Data = value("descriptor"),
                    let descriptor = try? SignedDescriptor(verifying: [UInt8](bytes)),
                    let firstSeen = value("firstSeen").flatMap({ UInt64(exactly: $0 as Int64) }),
                    let lastSeen = value("lastSeen").flatMap({ UInt64(exactly: $0 as Int64) })
                else {
                    content.damagedCount += 1
                    continue
                }
                content.routers.append(
                    StoredRouter(
                        descriptor: descriptor, firstSeen: firstSeen, lastSeen: lastSeen,
                        isListed: value("isListed") ?? false))
            }
            return content
        }
    }

    /// Replace what is stored.
    ///
    /// - Throws: what SQLite says, for example that the disk is full; then all is as it was.
    package func save(_ routers: [StoredRouter], revision: UInt64) throws {
        try self.database.write { database in
            try database.execute(sql: "DELETE FROM router")
            let insertion = try database.makeStatement(
                sql: """
                    INSERT INTO router (identity, descriptor, firstSeen, lastSeen, isListed) VALUES (?, ?, ?, ?, ?)
                    """)
            for router in routers {
                try insertion.execute(arguments: [
                    Data(router.descriptor.identity.rawBytes), Data(router.descriptor.bytes),
                    Int64(clamping: router.firstSeen), Int64(clamping: router.lastSeen), router.isListed,
                ])
            }
            try database.execute(
                sql: "INSERT OR REPLACE INTO directory (id, lastRevision) VALUES (1, ?)",
                arguments: [Int64(clamping: revision)])
        }
    }
}
