package registrytest

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// link is what a URL that was made for one request stands for.
type link struct {
	kind    string
	method  string // "" = any
	header  map[string]string
	content func() []byte
	reply   Reply
}

// links are those that were made, by path and query.
type links struct {
	mu   sync.Mutex
	made int
	to   map[string]link
}

// add makes a URL of a text, in which {id} is different each time.
func (ls *links) add(text string, l link) (to string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.made++
	to = strings.ReplaceAll(text, "{id}", strconv.Itoa(ls.made))
	ls.to[to] = l
	return to
}

func (ls *links) get(r *http.Request) (link, bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l, ok := ls.to[r.URL.RequestURI()]
	return l, ok
}

// follow answers a request for a URL that was made for it. Such a URL holds all
// that is needed, and a storage takes nothing besides it.
func (v *visit) follow() bool {
	l, ok := v.server.links.get(v.r)
	switch {
	case !ok:
		return false
	case v.r.Header.Get("Authorization") != "" && v.r.Host == v.server.cdn.Listener.Addr().String():
		v.reply(Reply{Status: http.StatusBadRequest, Type: "application/xml", Body: "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>"})
	case l.reply.Status != 0:
		v.reply(l.reply)
	case l.method != "" && l.method != v.r.Method:
		v.reply(Reply{Status: http.StatusForbidden, Type: "application/xml", Body: "<Error><Code>SignatureDoesNotMatch</Code></Error>"})
	default:
		for name, value := range l.header {
			v.w.Header().Set(name, value)
		}
		v.send(l.content())
	}
	return true
}
