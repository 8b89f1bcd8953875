package registrytest

import "net/http"

// link is what a URL that was made for one request stands for.
type link struct {
	kind    string
	method  string // "" = any
	header  map[string]string
	content func() []byte
	reply   Reply
}

// follow answers a request for a URL that was made for it. Such a URL holds all
// that is needed, and a storage takes nothing besides it.
func (s *Server) follow(v *Visit) bool {
	s.mu.Lock()
	l, ok := s.links[v.r.URL.RequestURI()]
	s.mu.Unlock()
	switch {
	case !ok:
		return false
	case v.r.Header.Get("Authorization") != "" && v.r.Host == v.cdn.Listener.Addr().String():
		v.reply(Reply{Status: http.StatusBadRequest, Type: "application/xml", Body: "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>"})
	case l.reply.Status != 0:
		v.reply(l.reply)
	case l.method != "" && l.method != v.r.Method:
		v.reply(Reply{Status: http.StatusForbidden, Type: "application/xml", Body: "<Error><Code>SignatureDoesNotMatch</Code></Error>"})
	default:
		for name, value := range l.header {
			v.w.Header().Set(name, value)
		}
		serveBytes(v.w, v.r, l.content())
	}
	return true
}
