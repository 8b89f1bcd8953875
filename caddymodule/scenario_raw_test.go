package caddymodule

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// rawQuiet is how long a connection that its server keeps open is silent until that is
// counted as done with it.
const rawQuiet = 300 * time.Millisecond

// raw <bytes>...: writes them to a connection of its own, and reads all answers
// that come back. The connection is then closed, unless the server has done that.
func (s *scenario) cmdRaw(args []string) {
	conn := s.dialGateway()
	defer conn.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for _, text := range args {
			if _, err := io.WriteString(conn, text); err != nil {
				return // the server has had enough
			}
		}
	}()
	s.last = nil
	from := bufio.NewReader(conn)
	patience, closed := processTime, false
	for {
		s.check(conn.SetReadDeadline(time.Now().Add(patience)))
		if _, err := from.Peek(1); err != nil {
			var timeout net.Error
			closed = !errors.As(err, &timeout) || !timeout.Timeout()
			break
		}
		s.check(conn.SetReadDeadline(time.Now().Add(processTime)))
		response, err := http.ReadResponse(from, nil)
		if err != nil {
			break
		}
		rep := &reply{what: "raw", status: response.StatusCode, header: response.Header}
		rep.body, rep.err = io.ReadAll(response.Body)
		_ = response.Body.Close()
		s.last = append(s.last, rep)
		if !response.Close { // whoever says that he closes has all the time for it
			patience = rawQuiet
		}
	}
	_ = conn.Close()
	<-written
	if len(s.last) == 0 {
		s.last = []*reply{{what: "raw", err: errors.New("no answer")}}
	}
	for _, rep := range s.last {
		rep.closed = closed
	}
}
