package registrytest

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

const (
	html  = "text/html; charset=utf-8"
	plain = "text/plain; charset=utf-8"
)

// Reply is an answer whose texts have places in them.
type Reply struct {
	Status int
	// Challenge has one WWW-Authenticate header each.
	Challenge []string
	// Type is the media type; default application/json.
	Type string
	Body string
	// Header are more headers.
	Header map[string]string
}

// problem is an error document of a registry.
func problem(status int, code, message string) Reply {
	return Reply{Status: status, Body: `{"errors":[{"code":"` + code + `","message":` + strconv.Quote(message) + `}]}` + "\n"}
}

// ofRepository is the scope of a challenge.
const ofRepository = `,scope="repository:{name}:pull"`

// unauthorized is the usual 401.
func unauthorized(challenges ...string) Reply {
	return problem(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required").with(challenges...)
}

// with returns a Reply with other challenges.
func (r Reply) with(challenges ...string) Reply {
	r.Challenge = challenges
	return r
}

// or returns the first of two that is one.
func (r Reply) or(other Reply) Reply {
	if r.Status == 0 {
		return other
	}
	return r
}

func (v *visit) reply(r Reply) {
	h := v.w.Header()
	h.Set("Content-Type", "application/json")
	if r.Type != "" {
		h.Set("Content-Type", r.Type)
	}
	for _, c := range r.Challenge {
		h.Add("WWW-Authenticate", v.expand(c))
	}
	for name, value := range r.Header {
		h.Set(name, v.expand(value))
	}
	body := v.expand(r.Body)
	if v.r.Method == http.MethodHead {
		body = ""
	} else {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	v.w.WriteHeader(r.Status)
	_, _ = v.w.Write([]byte(body))
}

// send answers with content, or with a range of it.
func (v *visit) send(content []byte) {
	http.ServeContent(v.w, v.r, "", time.Time{}, bytes.NewReader(content))
}
