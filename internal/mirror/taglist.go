package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/taglist"
)

// tagList returns one page of the upstream's tags: of a listing that is begun for it,
// or that the client is in already. Where the upstream fails, the last list that was
// whole serves, from its first page to its last.
func (v view) tagList(ctx context.Context, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error) {
	if v.Offline {
		return v.storedTags(ctx, page)
	}
	var l *taglist.List
	if page.Last != "" {
		l = v.lists.Find(v.scope, page.Last, v.now())
	}
	old := v.lists.Whole(v.scope)
	w := walk{view: v, page: page, fallback: old != nil}
	list, err := w.from(ctx, l)
	switch {
	case err == nil:
	case ctx.Err() == nil && old != nil && w.mayTurnTo(old) && v.excuses(err):
		old.ServesFor(err)
		w.l = old
		list, _ = old.Page(page)
	default:
		return oci.TagList{}, w.failed(err), fmt.Errorf("list tags of %s: %w", v.scope, err)
	}
	w.l.HandOut(list, v.now())
	_ = v.lists.Settle(w.l, v.now()) // a place takes little, and the page is here
	if cause := w.l.ServedFor(); cause != nil {
		return list, staleListing(cause), nil
	}
	return list, w.status(), nil
}

// walk is how one request gets its page.
type walk struct {
	view

	page     oci.TagsPage
	fallback bool
	l        *taglist.List // nil = there is none yet
	// led and joined say how pages were got that were not here; refused, that one was
	// not asked for, since it had just failed.
	led, joined, refused bool
}

// from brings the listing forward until it has the page; nil = a new one.
func (w *walk) from(ctx context.Context, l *taglist.List) (oci.TagList, error) {
	waiting, cancel := context.WithTimeout(ctx, w.patience(w.fallback && w.page.Last == ""))
	defer cancel()
	w.l = l
	for {
		var list oci.TagList
		var err error
		if w.l == nil {
			err = w.begin(waiting)
		} else {
			var done bool
			if list, done = w.l.Page(w.page); done {
				return list, nil
			}
			err = w.forward(waiting)
		}
		switch {
		case err == nil:
		case errors.Is(err, taglist.ErrDropped):
			w.l = w.lists.Join(w.scope, w.now())
		case len(list.Tags) > 0 && waiting.Err() != nil && ctx.Err() == nil:
			return list, nil // what came in time, and a link to the rest
		default:
			return oci.TagList{}, w.classed(waiting, err)
		}
	}
}

// begin starts a new listing, together with all who do at that moment.
func (w *walk) begin(ctx context.Context) error {
	k := w.key(kindTags, "")
	if e := w.remembered(k, w.fallback); e != nil {
		w.refused = true
		return e
	}
	a, err := w.listBegins.do(ctx, w.view, k, w.patience(false), func(ctx context.Context) (answer[*taglist.List], error) {
		page, err := w.fetch(ctx, k, oci.TagsCursor{})
		if err != nil {
			return answer[*taglist.List]{}, err
		}
		l := taglist.New(w.scope, page.Asked)
		w.lists.Put(l, w.now())
		return answer[*taglist.List]{value: l}, w.take(ctx, k, l, oci.TagsCursor{}, page)
	})
	w.note(a.course == led)
	if err == nil {
		w.l = a.value
	}
	return err
}

// forward brings the listing its next page: one that has come in another listing since
// this one was begun, or else one that is fetched together with all who need it.
func (w *walk) forward(ctx context.Context) error {
	l := w.l
	at, more := l.State()
	if !more {
		return nil
	}
	k := w.key(kindTags, at.Endpoint+"?"+at.Query)
	if e := w.remembered(k, false); e != nil {
		w.refused = true
		return e
	}
	if page := w.lists.PageFor(l, at); page != nil {
		return w.take(ctx, k, l, at, page)
	}
	var taken error
	a, err := w.listPages.do(ctx, w.view, k, w.patience(false), func(ctx context.Context) (answer[*taglist.Page], error) {
		page := w.lists.PageFor(l, at)
		if page == nil {
			var err error
			if page, err = w.fetch(ctx, k, at); err != nil {
				return answer[*taglist.Page]{}, err
			}
		}
		taken = w.take(ctx, k, l, at, page) // also if nobody waits any more
		return answer[*taglist.Page]{value: page}, nil
	})
	w.note(a.course == led)
	switch {
	case err != nil:
		if isLost(err) { // who asks again walks from the start to where it was
			w.lists.Forget(l)
		}
		return err
	case a.course == led:
		return taken
	case !a.value.Asked.After(l.Begun()):
		return nil // it is no news for this listing, unless it has it already
	}
	return w.take(ctx, k, l, at, a.value)
}

// fetch gets one page of the upstream's list.
func (w *walk) fetch(ctx context.Context, k key, at oci.TagsCursor) (*taglist.Page, error) {
	if e := w.remembered(k, false); e != nil {
		return nil, e
	}
	page := &taglist.Page{Asked: w.now()}
	var err error
	if page.Part, err = w.Remote.Tags(ctx, w.repository, at); err == nil {
		return page, nil
	}
	if at != (oci.TagsCursor{}) && oci.IsNotFound(err) { // the page is missing, not the repository
		lost := oci.UpstreamError(oci.ClassStatus, "", "the upstream lost its place in the tag list", err)
		lost.UpstreamStatus = http.StatusNotFound
		err = lost
	}
	return nil, w.noteFailure(ctx, k, err, false)
}

// take adds a page to a listing.
func (w *walk) take(ctx context.Context, k key, l *taglist.List, at oci.TagsCursor, page *taglist.Page) error {
	if err := l.Add(at, page, w.now()); err != nil {
		w.lists.Forget(l)
		return w.noteFailure(ctx, k, err, false)
	}
	err := w.lists.Settle(l, w.now())
	if oci.ClassOf(err) == oci.ClassLength {
		return w.noteFailure(ctx, w.key(kindTags, ""), err, false)
	}
	return err
}

// isLost reports whether a page that followed another one will not come any more: the
// tag that it began after is gone, its place has expired, or it leads nowhere.
func isLost(err error) bool {
	e := oci.AsError(err)
	switch e.UpstreamStatus {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.Class == oci.ClassNotFound || e.Class == oci.ClassNotRegistry || e.UpstreamStatus/100 == 4
}

// mayTurnTo reports whether an old list may answer in place of what the walk did not
// get: not in the middle of a newer one, for the two may differ.
func (w *walk) mayTurnTo(old *taglist.List) bool {
	last, now := w.page.Last, w.now()
	return last == "" || w.l == nil || w.l == old || !w.l.Continues(last, now) || old.Continues(last, now)
}

// note records how a page was got.
func (w *walk) note(led bool) {
	w.led = w.led || led
	w.joined = w.joined || !led
}

// status tells of an answer how it was got.
func (w *walk) status() oci.CacheStatus {
	if !w.led && !w.joined {
		return oci.CacheStatus{Result: oci.ResultHit}
	}
	return answered(w.led, false)
}

func (w *walk) failed(err error) oci.CacheStatus {
	if w.refused && !w.led && !w.joined {
		return negative()
	}
	return failed(w.led, err)
}

// storedTags pages through the tags that were pulled through this gateway: all that an
// upstream has which is never asked, beside those that its Remote puts into the store.
func (v view) storedTags(ctx context.Context, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error) {
	if v.Backed {
		_, _ = v.Remote.Tags(ctx, v.repository, oci.TagsCursor{}) // it has none itself
	}
	tags, err := v.store.Tags(ctx, v.scope, page.Last, -1)
	v.store.readFailed("list tags", v.scope, "", err)
	if len(tags) == 0 && (err != nil || page.Last == "") {
		status, err := v.unknown(oci.CodeNameUnknown)
		return oci.TagList{}, status, err
	}
	list := oci.TagList{Tags: tags}
	if n := page.N; n >= 0 && n < len(tags) {
		list = oci.TagList{Tags: tags[:n], More: n > 0}
	}
	return list, oci.CacheStatus{Result: oci.ResultHit}, nil
}
