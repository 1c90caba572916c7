package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// Code is the class of a failed download; it stays the same from release to release, so that scripts can match it.
type Code string

// The classes of failure.
const (
	CodeAuth     Code = "E_DL_AUTH"     // the hub wants a (valid) token
	CodeGated    Code = "E_DL_GATED"    // the author's conditions must be accepted first
	CodeRepo     Code = "E_DL_REPO"     // no such repository
	CodeRevision Code = "E_DL_REVISION" // no such branch, tag or commit
	CodeEntry    Code = "E_DL_ENTRY"    // no such file, or no model among the files
	CodeRate     Code = "E_DL_RATE"     // too many requests
	CodeServer   Code = "E_DL_SERVER"   // the server failed
	CodeHTTP     Code = "E_DL_HTTP"     // any other answer that was not expected
	CodeRange    Code = "E_DL_RANGE"    // a part was asked for and another one came
	CodeSize     Code = "E_DL_SIZE"     // the length is wrong or not given
	CodeHash     Code = "E_DL_HASH"     // the bytes are wrong
	CodeEncoding Code = "E_DL_ENCODING" // the body is compressed
	CodeRedirect Code = "E_DL_REDIRECT" // a redirect that must not be followed
	CodeStall    Code = "E_DL_STALL"    // the server went silent
	CodeConnect  Code = "E_DL_CONNECT"  // the server was not reached
	CodeTLS      Code = "E_DL_TLS"      // the server could not prove who it is
	CodeProxy    Code = "E_DL_PROXY"    // the proxy failed
	CodeOffline  Code = "E_DL_OFFLINE"  // the network was switched off by the user
	CodeTree     Code = "E_DL_TREE"     // the list of files makes no sense
	CodeXet      Code = "E_DL_XET"      // the file can be had in another way only
	CodeSpace    Code = "E_DL_SPACE"    // the disk is full
	CodeCache    Code = "E_DL_CACHE"    // the cache could not be written
)

// Error says what failed, in one line that ends with its code.
type Error struct {
	Code  Code
	Text  string
	Cause error // nil where Text says all

	quiet bool // Text holds the cause's words
	again again
	after time.Duration // the server's wish, with againLater
}

// again is what may help after a failure.
type again int

const (
	againNever   again = iota
	againLater         // the same once more, after a pause
	againRestart       // once more and from the first byte
)

func (e *Error) Error() string {
	if e.Cause != nil && !e.quiet {
		return fmt.Sprintf("hub: %s: %s (%s)", e.Text, plain(e.Cause), e.Code)
	}
	return fmt.Sprintf("hub: %s (%s)", e.Text, e.Code)
}

func (e *Error) Unwrap() error { return e.Cause }

func fail(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) because(err error) *Error {
	e.Cause = err
	return e
}

func (e *Error) retry(a again) *Error {
	e.again = a
	return e
}

// plain is an error's text without the paths and addresses that wrap it: the message has them already, and an address
// may hold a signature that nobody else should read.
func plain(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error())
}

// diskError says what a failed file operation means for the user.
func diskError(what string, err error) error {
	if e := (*Error)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	const elsewhere = "set HF_HOME or HF_HUB_CACHE to a folder that can be written"
	hint, code := "", CodeCache
	switch {
	case errors.Is(err, syscall.ENOSPC):
		hint, code = "the disk is full; free some space and pull again, it goes on where it stopped", CodeSpace
	case errors.Is(err, syscall.EDQUOT):
		hint, code = "your disk quota is used up; free some space and pull again, it goes on where it stopped", CodeSpace
	case errors.Is(err, syscall.EROFS):
		hint = "the cache is read-only; " + elsewhere
	case errors.Is(err, fs.ErrPermission):
		hint = "this user may not write there; " + elsewhere
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		hint = "too many files are open; raise the limit (ulimit -n) and pull again"
	case errors.Is(err, syscall.ENAMETOOLONG):
		hint = "the path is too long for this file system; set HF_HUB_CACHE to a shorter one"
	case errors.Is(err, syscall.EIO):
		hint = "the disk failed; check it before you pull again"
	default:
		return fail(code, "%s", what).because(err)
	}
	e := fail(code, "%s: %s; %s", what, plain(err), hint).because(err)
	e.quiet = true
	return e
}
