package dashboard

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

const (
	// pageSize is how many entries a page of a listing has.
	pageSize = 50
	// namesPatience and sizesPatience are how long an answer waits for names, without
	// which there is none, and for sizes, which may come later.
	namesPatience = 30 * time.Second
	sizesPatience = 40 * time.Millisecond
)

// entry is one line of a listing: an upstream, a repository or an image.
type entry struct {
	Name string `json:"name"`
	// Tags are counted, and Repositories too, for an upstream.
	Repositories int `json:"repositories,omitempty"`
	Tags         int `json:"tags,omitempty"`
	// Tag, Digest and times are those of an image.
	Tag     string     `json:"tag,omitempty"`
	Digest  string     `json:"digest,omitempty"`
	Checked *time.Time `json:"checked,omitempty"`
	Changed *time.Time `json:"changed,omitempty"`
	Used    *time.Time `json:"used,omitempty"`
	// Held are the sizes, once they are known.
	Held *held `json:"held,omitempty"`
	// Pins are the patterns that keep an image.
	Pins []string `json:"pins,omitempty"`

	scope oci.Scope
}

// held is what lies on the disk of an entry.
type held struct {
	Blobs    int64 `json:"blobs"`
	Bytes    int64 `json:"bytes"`
	OwnBytes int64 `json:"own_bytes"`
	Absent   int64 `json:"absent,omitempty"`
}

// listing is one page of entries.
type listing struct {
	// In is what the entries are in: empty, an upstream or a repository.
	In      string  `json:"in"`
	Entries []entry `json:"entries"`
	Total   int     `json:"total"`
	Page    int     `json:"page"` // from 0
	Pages   int     `json:"pages"`
	// Sizing says that the sizes are still being looked up.
	Sizing bool `json:"sizing,omitempty"`
}

// showImages lists what is cached: upstreams, repositories of one, images of one of
// these, or the images whose names have all words of a search.
func (d *run) showImages(q *query) (any, error) {
	repositories, _, err := d.images.names.get("", namesPatience)
	if err != nil {
		return nil, err
	}
	in, search := strings.Trim(q.Get("in"), "/"), strings.Fields(strings.ToLower(q.Get("q")))
	visible, partly := repositories[:0:0], false
	for _, r := range repositories {
		inside := in == "" || r.scope.String() == in || oci.UpstreamName(r.scope.Upstream) == in
		switch {
		case inside && q.audience.seesScope(r.scope):
			visible = append(visible, r)
		case inside:
			partly = true
		}
	}
	l := &listing{In: in}
	if len(search) > 0 {
		entries := imagesOf(visible, search)
		order(entries, q.Get("sort"))
		l.cut(entries, q.Get("page"))
		return l, errors.Join(d.measureSome(l), d.mark(q.Context(), l.Entries))
	}
	sizes, known, err := d.images.sizes.get(in, sizesPatience)
	if err != nil {
		return nil, err
	}
	l.Sizing = !known
	var entries []entry
	if strings.Contains(in, "/") {
		entries = append(imagesOf(visible, nil), untagged(visible, sizes, partly)...)
	} else {
		entries = groups(visible, in != "")
	}
	for i := range entries {
		entries[i].measure(sizes)
	}
	order(entries, q.Get("sort"))
	l.cut(entries, q.Get("page"))
	return l, d.mark(q.Context(), l.Entries)
}

// maxMeasured is of how many repositories what was found is measured: each takes a walk.
const maxMeasured = 4

// measureSome adds the sizes of what was found, if it is of few repositories.
func (d *run) measureSome(l *listing) error {
	scopes := map[string]bool{}
	for _, e := range l.Entries {
		scopes[e.scope.String()] = true
	}
	if len(scopes) > maxMeasured {
		return nil
	}
	for scope := range scopes {
		sizes, known, err := d.images.sizes.get(scope, sizesPatience)
		if err != nil {
			return err
		}
		l.Sizing = l.Sizing || !known
		for i := range l.Entries {
			l.Entries[i].measure(sizes)
		}
	}
	return nil
}

// imagesOf returns the tagged images of repositories, those with all words in their
// names.
func imagesOf(repositories []repository, words []string) (entries []entry) {
	for _, r := range repositories {
		for _, t := range r.tags {
			e := entry{Name: r.scope.String() + ":" + t.Name, Tag: t.Name, Digest: t.Digest.String(), scope: r.scope}
			name := strings.ToLower(e.Name)
			if slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(name, word) }) {
				continue
			}
			e.Checked, e.Changed = timeOf(t.Checked), timeOf(t.Changed)
			entries = append(entries, e)
		}
	}
	return entries
}

// untagged returns the images of a repository that only their digest leads to. If the
// user may not see all of the repository, nobody knows which of them are his.
func untagged(repositories []repository, sizes map[string]storage.Holding, partly bool) (entries []entry) {
	if partly || len(repositories) == 0 {
		return nil
	}
	for name, h := range sizes {
		if h.Image != nil && h.Image.Tag == "" {
			entries = append(entries, entry{Name: name, Digest: h.Image.Digest.String(), scope: repositories[0].scope})
		}
	}
	return entries
}

// groups returns the upstreams, or the repositories. They are in order.
func groups(visible []repository, byRepository bool) (entries []entry) {
	last := ""
	for _, r := range visible {
		name := oci.UpstreamName(r.scope.Upstream)
		if byRepository {
			name = r.scope.String()
		}
		if n := len(entries); n == 0 || entries[n-1].Name != name {
			entries = append(entries, entry{Name: name})
		}
		e := &entries[len(entries)-1]
		e.Tags += len(r.tags)
		if whole := r.scope.String(); !byRepository && whole != last {
			e.Repositories++
			last = whole
		}
	}
	return entries
}

// measure adds what the sizes have of an entry.
func (e *entry) measure(sizes map[string]storage.Holding) {
	h, ok := sizes[e.Name]
	if !ok {
		return
	}
	e.Held = &held{Blobs: h.Blobs, Bytes: h.Bytes, OwnBytes: h.OwnBytes}
	if h.Image != nil {
		e.Used, e.Held.Absent = h.Image.Used, h.Image.Absent
	}
}

// order sorts entries by name, or by another field, largest and newest first.
func order(entries []entry, by string) {
	bytes := func(e entry) int64 {
		if e.Held == nil {
			return -1
		}
		return e.Held.Bytes
	}
	moment := func(t *time.Time) int64 {
		if t == nil {
			return math.MinInt64
		}
		return t.Unix()
	}
	slices.SortFunc(entries, func(a, b entry) int {
		first := 0
		switch by {
		case "size":
			first = cmp.Compare(bytes(b), bytes(a))
		case "checked":
			first = cmp.Compare(moment(b.Checked), moment(a.Checked))
		case "used":
			first = cmp.Compare(moment(b.Used), moment(a.Used))
		}
		return cmp.Or(first, cmp.Compare(a.Name, b.Name))
	})
}

// cut takes one page of the entries.
func (l *listing) cut(entries []entry, page string) {
	l.Total = len(entries)
	l.Pages = max((l.Total+pageSize-1)/pageSize, 1)
	n, _ := strconv.Atoi(page) // what is none is the first
	l.Page = min(max(n, 0), l.Pages-1)
	from := l.Page * pageSize
	l.Entries = entries[from:min(from+pageSize, l.Total)]
	if l.Entries == nil {
		l.Entries = []entry{}
	}
}

// mark notes at images which pins keep them.
func (d *run) mark(ctx context.Context, entries []entry) error {
	var pins []oci.Pin
	for _, s := range d.gateway.Stores() {
		pins = append(pins, s.Limits().Pins...)
		stored, err := s.Pins(ctx)
		if err != nil {
			return err
		}
		for _, p := range stored {
			pins = append(pins, p.Pin)
		}
	}
	for i := range entries {
		e := &entries[i]
		for _, p := range pins {
			if e.Digest == "" || !p.Match(e.scope, e.Tag) && (!p.Names(e.scope) || p.Digest.String() != e.Digest) {
				continue
			}
			if !slices.Contains(e.Pins, p.String()) {
				e.Pins = append(e.Pins, p.String())
			}
		}
	}
	return nil
}

// imageOf returns the image that a request names, if who asks may see it.
func (d *run) imageOf(q *query) (imagelist.Image, error) {
	i, err := imagelist.Parse(q.Get("name"))
	if err != nil {
		return i, refuse(http.StatusBadRequest, err.Error())
	}
	if !q.audience.sees(i.Upstream) {
		return i, refuse(http.StatusNotFound, "no upstream of yours is "+i.Upstream)
	}
	return i, nil
}

// showImage tells which platforms of an image are there completely.
func (d *run) showImage(q *query) (any, error) {
	i, err := d.imageOf(q)
	if err != nil {
		return nil, err
	}
	var reports []*image.Report
	failed := ""
	request := operate.VerifyRequest{ImageRequest: operate.ImageRequest{Images: []imagelist.Image{i}}}
	err = d.gateway.Verify(q.Context(), request, func(line operate.ImageLine) {
		if line.Report != nil {
			reports = append(reports, line.Report)
		}
		failed = cmp.Or(failed, line.Error)
	})
	switch {
	case err != nil:
		return nil, err
	case failed != "" || len(reports) == 0:
		return nil, refuse(http.StatusNotFound, cmp.Or(failed, "nothing is known of it"))
	}
	return slices.MaxFunc(reports, func(a, b *image.Report) int { return cmp.Compare(len(a.Parts), len(b.Parts)) }), nil
}

// showPins lists the pins with what each keeps, of those upstreams that are seen.
func (d *run) showPins(q *query) (any, error) {
	uses := []storage.PinUse{}
	err := d.gateway.Pins(q.Context(), operate.PinRequest{}, func(line operate.PinLine) {
		if line.Report == nil {
			return
		}
		for _, use := range line.Report.Pins {
			if p, err := oci.ParsePin(use.Pattern); err == nil && q.audience.sees(p.Upstream) {
				uses = append(uses, use)
			}
		}
	})
	return uses, err
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
