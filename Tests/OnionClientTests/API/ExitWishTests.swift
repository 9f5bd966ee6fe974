import OnionCrypto
import Testing

@testable import OnionClient

@Suite("Exit wish")
struct ExitWishTests {
    @Test(
        "user names that wish, and what is behind a plus",
        arguments: [
            ("country-se", ExitWish(countries: .only(["SE"]))),
            ("COUNTRY-Se+alice", ExitWish(countries: .only(["SE"]))),
            ("country-not-us", ExitWish(countries: .not(["US"]))), ("country-no", ExitWish(countries: .only(["NO"]))),
            ("alice", .any), ("", .any), ("alice+country-se", .any), ("count", .any), ("exit", .any),
        ])
    func userNames(name: String, wish: ExitWish) throws { #expect(try ExitWish(userName: name.utf8) == wish) }

    @Test("a fingerprint keeps its capitals")
    func fingerprint() throws {
        let router = someKey()
        #expect(try ExitWish(userName: "exit-\(router.base64URL)+bob".utf8) == ExitWish(router: router))
    }

    @Test(
        "what begins like a wish and is none is refused, not passed over",
        arguments: [
            "country-", "country-s", "country-sweden", "country-not-", "country-not-sweden", "country-s1",
            "country-se,us",
            "country-not-not-us", "exit-", "exit-AAAA", "country-+alice", "country-\u{e5}\u{e5}",
        ])
    func malformed(name: String) {
        #expect(throws: ExitWish.Malformed()) { try ExitWish(userName: name.utf8) }
    }

    @Test("of two wishes both must be met")
    func narrowed() throws {
        func wish(_ text: String) throws -> ExitWish { try ExitWish(userName: text.utf8) }
        let (se, us) = (try wish("country-se"), try wish("country-us"))
        #expect(se.narrowed(by: .any) == se)
        #expect(ExitWish.any.narrowed(by: se) == se)
        #expect(se.narrowed(by: us).countries == .only([]))
        #expect(se.narrowed(by: try wish("country-not-us")) == se)
        #expect(try wish("country-not-se").narrowed(by: se).countries == .only([]))
        #expect(try wish("country-not-se").narrowed(by: wish("country-not-us")).countries == .not(["SE", "US"]))
        let (one, other) = (ExitWish(router: someKey()), ExitWish(router: someKey()))
        #expect(one.narrowed(by: se) == ExitWish(countries: .only(["SE"]), router: one.router))
        #expect(one.narrowed(by: other).countries == .only([]))
    }

    @Test("a wish reads as part of a sentence")
    func description() throws {
        #expect("\(try ExitWish(userName: "country-se".utf8))" == "in SE")
        #expect("\(try ExitWish(userName: "country-not-us".utf8))" == "not in US")
        #expect("\(ExitWish.any)" == "anywhere")
        #expect("\(ExitWish(countries: .only([])))" == "in two countries at once")
    }
}
