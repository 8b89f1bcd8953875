package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// checkpoint is where seen, logged and counted count from: the beginning of the
// row, or of the last step.
type checkpoint struct {
	log         int64
	expected    [][]string // lines of the log, as args of cmdLogged
	metrics     samples
	connections map[string]int
}

// step <what happens>: what was seen, logged and counted so far is done with.
func (s *scenario) cmdStep([]string) {
	s.finish()
	s.mark()
}

func (s *scenario) mark() {
	s.t.Helper()
	s.since = checkpoint{connections: map[string]int{}}
	for name, server := range s.upstreams {
		server.Reset()
		s.since.connections[name] = server.Connections()
	}
	if info, err := os.Stat(s.logFile); err == nil {
		s.since.log = info.Size()
		s.since.metrics = s.site.scrape()
	}
}

// finish fails for warnings and errors in the log that nothing has expected.
func (s *scenario) finish() {
	s.t.Helper()
	// A download that fails is logged after its clients were told. Where one goes on
	// into the next step, this is as long as it takes to see that.
	for deadline := time.Now().Add(time.Second); len(s.clients) == 0 && running() != "" && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	for _, line := range s.logLines() {
		level := line.fields["level"]
		expected := slices.ContainsFunc(s.since.expected, func(args []string) bool { return s.lineMatches(line, args) })
		if (level == "warn" || level == "error") && !expected {
			s.fatalf("the log has a line before this one that nothing expected: %s", line.text)
		}
	}
}

func (s *scenario) finishRow() {
	s.t.Helper()
	s.finish()
	if !s.asserted {
		s.fatalf("the row does not end with what the upstream has seen")
	}
}

// seen nothing | seen [<n>] [cdn] <METHOD> <kind>[, …]: exactly these requests
// have reached the upstream. <n> may be a range such as 1..3.
func (s *scenario) cmdSeen(args []string) {
	s.asserted = true
	got := map[string]int{}
	for _, r := range s.server().Requests() {
		name := r.Method + " " + r.Kind
		if r.Host == registrytest.HostCDN {
			name = "cdn " + name
		}
		got[name]++
	}
	text := strings.Join(args, " ")
	if text == "nothing" {
		if len(got) > 0 {
			s.fatalf("the upstream saw %v", got)
		}
		return
	}
	left := maps.Clone(got)
	for want := range strings.SplitSeq(text, ", ") {
		from, to := 1, 1
		if count, rest, _ := strings.Cut(want, " "); count[0] >= '0' && count[0] <= '9' {
			from, to = s.span(count)
			want = rest
		}
		if n := got[want]; n < from || n > to {
			s.fatalf("the upstream saw %v", got)
		}
		delete(left, want)
	}
	if len(left) > 0 {
		s.fatalf("the upstream saw %v too", left)
	}
}

// await <n> <METHOD> <kind>: waits until the upstream has seen so many.
func (s *scenario) cmdAwait(args []string) {
	want := s.number(s.arg(args, 0))
	s.soon(func() string {
		if n := s.server().Count(s.arg(args, 1), s.arg(args, 2)); n < want {
			return fmt.Sprintf("the upstream saw %d", n)
		}
		return ""
	})
}

// asking <n>: waits until so many requests are being answered.
func (s *scenario) cmdAsking(args []string) {
	want := s.number(s.arg(args, 0))
	s.soon(func() string {
		generations.RLock()
		defer generations.RUnlock()
		asking := 0
		for _, service := range generations.list[len(generations.list)-1].run.handlers {
			asking += int(service.in.Load()) - 1 // the configuration is in, too
		}
		if asking < want {
			return fmt.Sprintf("%d requests are being answered", asking)
		}
		return ""
	})
}

// connects <n>: so many connections have reached the upstream.
func (s *scenario) cmdConnects(args []string) {
	s.asserted = true
	from, to := s.span(s.arg(args, 0))
	if n := s.server().Connections() - s.since.connections[s.upstream]; n < from || n > to {
		s.fatalf("%d connections", n)
	}
}

type logLine struct {
	text   string
	fields map[string]string
}

// logLines returns what was logged since the last step.
func (s *scenario) logLines() (lines []logLine) {
	s.t.Helper()
	raw, err := os.ReadFile(s.logFile)
	if err != nil {
		return nil // Caddy has not started yet
	}
	for text := range strings.Lines(string(raw[s.since.log:])) {
		var values map[string]any
		if json.Unmarshal([]byte(text), &values) != nil {
			continue // it is still being written
		}
		line := logLine{text: text, fields: map[string]string{}}
		for key, value := range values {
			line.fields[key] = fmt.Sprint(value)
		}
		lines = append(lines, line)
	}
	return lines
}

// logged <level> <message> [<key>=<value>|<key>~<regexp>]...: there is such a
// line, or will be soon. logged not <…>: there is none. logged maybe <…>: one is
// no surprise, as of lines that are left out where there was one a second ago.
func (s *scenario) cmdLogged(args []string) {
	absent, maybe := s.arg(args, 0) == "not", args[0] == "maybe"
	if absent || maybe {
		args = args[1:]
	}
	if maybe {
		s.since.expected = append(s.since.expected, args)
		return
	}
	s.arg(args, 1)
	find := func() string {
		found := false
		for _, line := range s.logLines() {
			if s.lineMatches(line, args) {
				found = true
			}
		}
		if !found {
			return "there is no such line in the log:\n" + s.logText()
		}
		return ""
	}
	if absent {
		if find() == "" {
			s.fatalf("there is such a line in the log:\n%s", s.logText())
		}
		return
	}
	s.since.expected = append(s.since.expected, args)
	s.soon(find)
}

func (s *scenario) lineMatches(line logLine, args []string) bool {
	s.t.Helper()
	if line.fields["level"] != args[0] || line.fields["msg"] != args[1] {
		return false
	}
	for _, word := range args[2:] {
		at := strings.IndexAny(word, "=~")
		if at < 0 {
			s.fatalf("%q is neither key=value nor key~regexp", word)
		}
		got, want := line.fields[word[:at]], word[at+1:]
		if word[at] == '=' && got != want || word[at] == '~' && !s.regexp(want).MatchString(got) {
			return false
		}
	}
	return true
}

func (s *scenario) logText() string {
	var text strings.Builder
	for _, line := range s.logLines() {
		if line.fields["level"] != "debug" {
			text.WriteString("\t" + line.text)
		}
	}
	return text.String()
}

// counted <n> <metric> [<label>=<value>]...: the metrics of that name and with
// these labels have grown by so much together, or will soon.
func (s *scenario) cmdCounted(args []string) {
	from, to := s.span(s.arg(args, 0))
	name := s.arg(args, 1)
	s.soon(func() string {
		grown := s.site.scrape().since(s.since.metrics)
		sum := 0.0
		for series, n := range grown {
			if seriesMatches(series, name, args[2:]) {
				sum += n
			}
		}
		if sum < float64(from) || sum > float64(to) {
			return fmt.Sprintf("it has grown by %v; all that has: %v", sum, grown)
		}
		return ""
	})
}

func seriesMatches(series, name string, labels []string) bool {
	metric, rest, _ := strings.Cut(series, "{")
	has := strings.Split(strings.TrimSuffix(rest, "}"), ",")
	return metric == name && !slices.ContainsFunc(labels, func(label string) bool {
		key, value, _ := strings.Cut(label, "=")
		return !slices.Contains(has, fmt.Sprintf("%s=%q", key, value))
	})
}
