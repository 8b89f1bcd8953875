package upstream

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// trial is a registry with quirks, and what it is asked for in turn.
type trial struct {
	quirks  []registrytest.Quirk
	account bool
	asks    []question
}

// question is a request for something of a repository.
type question struct{ method, repository, what string }

// String tells all that it takes to do it again.
func (c trial) String() string {
	who := "nobody"
	if c.account {
		who = "the account"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "as %s, of a registry with", who)
	for _, q := range c.quirks {
		fmt.Fprintf(&b, "\n\t%s", q)
	}
	for _, q := range c.asks {
		fmt.Fprintf(&b, "\n\t\t%s %s %s", q.method, q.repository, q.what)
	}
	return b.String()
}

// plot is a repository of a trial.
type plot struct {
	name       string
	visibility registrytest.Visibility
	missing    bool
}

// wholeList is how many tags a repository has.
const wholeList = 26

// plots returns all of them, those that everybody may see first. Their names stand
// in the word "repository:" or in each other.
func plots() []plot {
	return []plot{
		{"open/app", registrytest.Public, false},
		{"open/pull", registrytest.Public, false},
		{"pos/repo", registrytest.Public, false},
		{"repository/app", registrytest.Public, false},
		{"closed/app", registrytest.Private, false},
		{"secret/app", registrytest.Refused, false},
		{"open/none", 0, true},
		{"gone/app", 0, true},
	}
}

// things returns what there is to ask for in a repository.
func things() []string {
	return []string{
		"index by tag", "index", "platform", "config", "layer", "layer of another repository", "platform of another repository",
		"tags", "tags?n=7", "referrers",
	}
}

// breed makes a trial at random: a quirk of about half of the groups.
func breed(random *rand.Rand, length int) trial {
	c := trial{account: random.IntN(2) == 0}
	groups := map[string][]registrytest.Quirk{}
	var names []string
	for _, q := range registrytest.Quirks() {
		if groups[q.Group] == nil {
			names = append(names, q.Group)
		}
		groups[q.Group] = append(groups[q.Group], q)
	}
	for _, name := range names {
		if all := groups[name]; random.IntN(2) == 0 {
			c.quirks = append(c.quirks, all[random.IntN(len(all))])
		}
	}
	repositories, what := plots(), things()
	for range length {
		method := http.MethodGet
		if random.IntN(3) == 0 {
			method = http.MethodHead
		}
		c.asks = append(c.asks, question{method, repositories[random.IntN(len(repositories))].name, what[random.IntN(len(what))]})
	}
	return c
}

// site is the registry of a trial with what is in it.
type site struct {
	*enclosure

	images map[string]registrytest.Image
}

func (c trial) site(t *testing.T) site {
	t.Helper()
	s := site{enclose(t, registrytest.Breed("odd", c.quirks...), c.account), map[string]registrytest.Image{}}
	for i, plot := range plots() {
		if plot.missing {
			s.images[plot.name] = s.images["open/app"] // to have digests to ask for
			continue
		}
		seed := uint64(i)
		if plot.name == "repository/app" {
			seed = 0 // the bytes of the first one
		}
		image := s.server.PutImage(plot.name, "latest", seed, 3_000, 10)
		s.server.SetVisibility(plot.name, plot.visibility)
		for n := range wholeList - 1 {
			s.server.PutTag(plot.name, fmt.Sprintf("v%d", wholeList-n), image.Index.Digest)
		}
		s.images[plot.name] = image
	}
	return s
}

// ask asks a gateway one question, whatever number of pages that takes. What is not
// the same each time is left out: the texts of errors and links.
func (s site) ask(g *zooGateway, q question) said {
	if strings.HasPrefix(q.what, "tags") {
		return s.list(g, q)
	}
	image, other := s.images[q.repository], s.images["pos/repo"]
	path := map[string]string{
		"index by tag": "manifests/latest", "index": "manifests/" + image.Index.Digest.String(),
		"platform": "manifests/" + image.Platforms[0].Manifest.Digest.String(), "config": "blobs/" + image.Platforms[0].Config.Digest.String(),
		"layer":                          "blobs/" + image.Platforms[0].Layers[0].Digest.String(),
		"layer of another repository":    "blobs/" + other.Platforms[1].Layers[0].Digest.String(),
		"platform of another repository": "manifests/" + other.Platforms[1].Manifest.Digest.String(),
		"referrers":                      "referrers/" + image.Index.Digest.String(),
	}[q.what]
	return g.ask(q.method, s.enclosure, q.repository+"/"+path).comparable()
}

func (a said) comparable() said {
	a.link = ""
	if a.status != http.StatusOK && a.status != 0 {
		a.body = ""
	}
	return a
}

func (s site) list(g *zooGateway, q question) said {
	var tags []string
	next := q.repository + "/tags/list" + strings.TrimPrefix(q.what, "tags")
	for page := 0; ; page++ {
		a := g.ask(q.method, s.enclosure, next)
		var document struct{ Tags []string }
		if a.status != http.StatusOK || q.method == http.MethodHead {
			return a.comparable()
		}
		if err := json.Unmarshal([]byte(a.body), &document); err != nil || page > 50 {
			return said{body: "a list that does not end, or is none"}
		}
		tags = append(tags, document.Tags...)
		target, found := strings.CutPrefix(a.link, "<")
		if !found {
			slices.Sort(tags)
			if whole := slices.Compact(slices.Clone(tags)); len(tags) != wholeList || len(whole) != wholeList {
				return said{body: fmt.Sprintf("a list of %d tags, %d of them different, that is not whole", len(tags), len(whole))}
			}
			return said{status: a.status, body: fmt.Sprint(tags)}
		}
		next, _, _ = strings.Cut(target, ">")
	}
}

// plot returns that of a question.
func (q question) plot() plot {
	all := plots()
	return all[slices.IndexFunc(all, func(p plot) bool { return p.name == q.repository })]
}

// right returns what has to be answered, whatever the quirks, where that is known: of
// a repository that everybody may see.
func (s site) right(q question) (said, bool) {
	if p := q.plot(); p.missing || p.visibility != registrytest.Public {
		return said{}, false
	}
	image := s.images[q.repository]
	platform := image.Platforms[0]
	want := map[string]said{
		"index by tag": {digest: image.Index.Digest.String(), body: string(image.IndexBytes)},
		"index":        {digest: image.Index.Digest.String(), body: string(image.IndexBytes)},
		"platform":     {digest: platform.Manifest.Digest.String(), body: string(platform.ManifestBytes)},
		"layer":        {digest: platform.Layers[0].Digest.String()},
		"config":       {digest: platform.Config.Digest.String()},
	}[q.what]
	want.status = http.StatusOK
	return want, want.digest != ""
}

// run asks everything of one gateway, and each thing from the given one on of a fresh
// one, too, at a registry of the same quirks. It returns which answer differs first,
// and how.
func (c trial) run(t *testing.T, from int) (at int, wrong string) {
	t.Helper()
	s, again := c.site(t), c.site(t)
	defer s.server.Close()
	defer again.server.Close()
	g := openZooGateway(t, s.enclosure)
	defer g.close()
	for i, q := range c.asks {
		got := s.ask(g, q)
		if i < from {
			continue
		}
		fresh := openZooGateway(t, again.enclosure)
		want := again.ask(fresh, q)
		fresh.close()
		if got != want {
			return i, fmt.Sprintf("%s %s, and of a gateway that was started for it %s %s", got, got.digest, want, want.digest)
		}
		if why := s.judge(q, got); why != "" {
			return i, why + ", also of a gateway that was started for it"
		}
	}
	return 0, ""
}

// judge says what is wrong with an answer that is always the same.
func (s site) judge(q question, got said) string {
	if got.status == 0 {
		return got.String()
	}
	switch got.status {
	case http.StatusOK, http.StatusForbidden, http.StatusNotFound:
	default:
		return got.String()
	}
	right, known := s.right(q)
	if !known {
		return ""
	}
	if right.body == "" && oci.Sum([]byte(got.body)).String() == right.digest {
		right.body = got.body // a blob is known by its digest
	}
	if !got.right(q.method, right.digest, right.body) {
		return fmt.Sprintf("%s %s, want %s", got, got.digest, right.digest)
	}
	return ""
}

// shrink leaves out of a trial what its last answer is wrong without.
func (c trial) shrink(t *testing.T, wrong string) (trial, string) {
	t.Helper()
	last, end := len(c.asks)-1, time.Now().Add(10*time.Second)
	alone := c
	alone.asks = c.asks[last:]
	if _, still := alone.run(t, 0); still != "" {
		c, wrong, last = alone, still, 0
	}
	for i := last + len(c.quirks); i >= 0 && time.Now().Before(end); i-- {
		less := c
		switch {
		case i > last:
			less.quirks = slices.Delete(slices.Clone(c.quirks), i-last-1, i-last)
		case i < last:
			less.asks = slices.Delete(slices.Clone(c.asks), i, i+1)
		default:
			continue // the last answer is what it is about
		}
		if _, still := less.run(t, len(less.asks)-1); still != "" {
			c, wrong, last = less, still, len(less.asks)-1
		}
	}
	return c, wrong
}

// TestAnswersAreThoseOfAFreshGateway asks registries of any quirks for things in any
// order: no answer depends on what was asked before, by whomever and whatever came of
// that.
func TestAnswersAreThoseOfAFreshGateway(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	for i := range testenv.Rounds(8, 2_000) {
		t.Run(strconv.Itoa(i), func(t *testing.T) { // so that one can be run alone
			c := breed(rand.New(rand.NewPCG(seed, uint64(i))), 12)
			at, wrong := c.run(t, 0)
			if wrong == "" {
				return
			}
			c.asks = c.asks[:at+1]
			small, still := c.shrink(t, wrong)
			t.Errorf("the last answer is %s\n%s", still, small)
		})
	}
}
