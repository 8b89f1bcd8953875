package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// A purge that has seen another one sorts after it, whatever the clocks say.
func TestPurgesFollowEachOther(t *testing.T) {
	now := time.Now()
	last := ""
	for _, at := range []time.Time{now, now.Add(-time.Hour), now, now.Add(time.Minute), time.Unix(0, 0)} {
		key := purgeName(at, last, "random")
		if key <= last || !purgeTime(key).After(purgeTime(last)) {
			t.Errorf("%s does not follow %s", key, last)
		}
		last = key
	}
	if before := overlapped(last); before >= last || overlapped("") > before {
		t.Errorf("%s is before %s", before, last)
	}
}

// A purge is about what it names, under every identity, and nothing else.
func TestPurgesMeanWhatTheyName(t *testing.T) {
	var p purges
	scope, tag, d := oci.Scope{Upstream: "ghcr.io#0123", Repository: "a/b"}, oci.Reference{Tag: "1"}, oci.Reference{Digest: oci.Sum([]byte("a"))}
	if _, ok := p.latest(scope, tag); ok {
		t.Error("there is one")
	}
	at := time.Now()
	one := purge{key: "2", selection: oci.Selection{Upstream: "ghcr.io", Repository: "a/b", Reference: tag}}
	one.Digests = append(one.Digests, d.Digest)
	p.add(one, at)
	for _, ref := range []oci.Reference{tag, d} {
		if m, ok := p.latest(scope, ref); !ok || m.key != "2" || !m.at.Equal(at) {
			t.Errorf("%s: %+v, %v", ref, m, ok)
		}
	}
	for _, other := range []struct {
		oci.Scope
		oci.Reference
	}{{scope, oci.Reference{Tag: "2"}}, {oci.Scope{Upstream: "ghcr.io", Repository: "a"}, tag}, {oci.Scope{Upstream: "quay.io", Repository: "a/b"}, d}} {
		if _, ok := p.latest(other.Scope, other.Reference); ok {
			t.Errorf("%s:%s has one", other.Scope, other.Reference)
		}
	}
	// An earlier one of more takes nothing back.
	p.add(purge{key: "1", selection: oci.Selection{Upstream: "ghcr.io"}}, at.Add(-time.Hour))
	if m, _ := p.latest(scope, tag); m.key != "2" || !m.at.Equal(at) {
		t.Errorf("%+v", m)
	}
	p.voidBefore(at.Add(time.Hour))
	if m, ok := p.latest(oci.Scope{Upstream: "quay.io", Repository: "c"}, tag); !ok || m.key != "" || !m.at.After(at) {
		t.Errorf("%+v, %v", m, ok)
	}
}

// What is remembered is bounded: beyond that, images stand for their repositories.
func TestPurgesAreBounded(t *testing.T) {
	var p purges
	const images = 300
	for n := range images {
		one := purge{key: fmt.Sprintf("%04d", n), selection: oci.Selection{Upstream: "ghcr.io", Repository: "a", Reference: oci.Reference{Tag: fmt.Sprint(n)}}}
		for k := range 500 {
			one.Digests = append(one.Digests, oci.Sum(fmt.Appendf(nil, "%d %d", n, k)))
		}
		p.add(one, time.Now())
	}
	if len(p.of) > maxMarks+images {
		t.Errorf("%d are remembered", len(p.of))
	}
	if m, ok := p.latest(oci.Scope{Upstream: "ghcr.io", Repository: "a"}, oci.Reference{Tag: "299"}); !ok || m.key != "0299" {
		t.Errorf("%+v, %v", m, ok)
	}
}
