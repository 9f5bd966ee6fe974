import Testing

@testable import ThorChat

@Suite("Search for a country that is served")
struct CountrySearchTests {
    @Test("begins with the proxy's choice, and goes through the list")
    func order() {
        var search = CountrySearch(country: nil)
        #expect(search.country == nil)
        #expect(search.refused() == CountrySearch.countries[0])
        #expect(search.country == CountrySearch.countries[0])
        #expect(search.refused() == CountrySearch.countries[1])
        #expect(search.tried == ["the proxy's choice", "US", "CA"])
    }

    @Test("asks in so many countries and not more; those without an exit do not count")
    func bound() {
        var search = CountrySearch(country: nil)
        var askedCount = 0
        while search.refused() != nil {
            _ = search.unavailable()
            askedCount += 1
        }
        #expect(askedCount == CountrySearch.limit)
        #expect(search.tried.count == CountrySearch.limit + 1)
    }

    @Test("ends with the list")
    func end() {
        var search = CountrySearch(country: nil)
        _ = search.refused()
        for _ in CountrySearch.countries.dropFirst() { #expect(search.unavailable() != nil) }
        #expect(search.unavailable() == nil)
        #expect(search.tried == ["the proxy's choice"])
    }

    @Test("a country that the user chose is the only one")
    func chosen() {
        var search = CountrySearch(country: "se")
        #expect(search.refused() == nil)
        #expect(search.country == "se" && search.tried == ["SE"])
    }

    @Test("every country is two letters, and none is there twice")
    func list() {
        #expect(Set(CountrySearch.countries).count == CountrySearch.countries.count)
        #expect(CountrySearch.countries.allSatisfy { $0.utf8.count == 2 && $0 == $0.lowercased() })
    }
}
