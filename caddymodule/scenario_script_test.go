package caddymodule

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// script is a parsed file: what comes before the first row, and the rows.
type script struct {
	file  string
	setup []instruction
	rows  []section
}

type section struct {
	row      string
	line     int
	commands []instruction
}

// instruction is one line, and the indented lines below it.
type instruction struct {
	line  int
	words []string // not expanded yet
	block string   // not expanded yet
}

func parseScript(file string) (*script, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &script{file: file}
	into := &s.setup
	for i, line := range strings.Split(string(raw), "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			continue
		case line[0] == '\t':
			if len(*into) == 0 {
				return nil, fmt.Errorf("%s:%d: an indented line belongs to a command", file, i+1)
			}
			c := &(*into)[len(*into)-1]
			c.block += line[1:] + "\n"
			continue
		case line[0] == '#':
			continue
		}
		words, err := splitWords(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		if words[0] == "row" {
			if len(words) < 2 {
				return nil, fmt.Errorf("%s:%d: row of what", file, i+1)
			}
			s.rows = append(s.rows, section{row: words[1], line: i + 1})
			into = &s.rows[len(s.rows)-1].commands
			continue
		}
		*into = append(*into, instruction{line: i + 1, words: words})
	}
	if len(s.rows) == 0 {
		return nil, fmt.Errorf("%s: no row", file)
	}
	return s, nil
}

// splitWords splits at blanks. A part in double quotes is taken as it stands, but
// for \r, \n, \t, \e (escape), \0, \" and \\; one in single quotes as it stands.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '"' && c == '\\':
			i++
			if i == len(line) {
				return nil, fmt.Errorf("line ends in a backslash")
			}
			at := strings.IndexByte(`rnte0"\`, line[i])
			if at < 0 {
				return nil, fmt.Errorf(`there is no \%c`, line[i])
			}
			word.WriteByte("\r\n\t\x1b\x00\"\\"[at])
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

var variable = regexp.MustCompile(`\$(\w+)|\$\{([^}]*)\}`)

// expand replaces $name and ${name}.
func (s *scenario) expand(text string) string {
	s.t.Helper()
	return variable.ReplaceAllStringFunc(text, func(match string) string {
		name := strings.Trim(match, "${}")
		value, ok := s.vars[name]
		if !ok {
			s.fatalf("there is no $%s", name)
		}
		return value
	})
}

// block returns the indented lines of the command.
func (s *scenario) block() string { return s.expand(s.at.block) }
