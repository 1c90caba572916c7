package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands and flags in your shell",
		ArgsUsage: "bash|zsh|fish",
		Description: "bash: source <(shammah-engine completion bash)\n" +
			"zsh:  source <(shammah-engine completion zsh)\n" +
			"fish: shammah-engine completion fish | source",
		Action: func(c *cli.Context) error {
			if c.NArg() == 1 {
				switch c.Args().First() {
				case "bash":
					_, err := io.WriteString(c.App.Writer, bashCompletion)
					return err
				case "zsh":
					_, err := io.WriteString(c.App.Writer, zshCompletion)
					return err
				case "fish":
					script, err := c.App.ToFishCompletion()
					if err != nil {
						return fmt.Errorf("completion: write the fish script: %w", err)
					}
					_, err = io.WriteString(c.App.Writer, script)
					return err
				}
			}
			return fmt.Errorf("%w: completion: expected one of bash, zsh and fish", errUsage)
		},
	}
}

// The program lists what may come next when its last argument is --generate-bash-completion.
const bashCompletion = `_shammah_engine() {
  local word="${COMP_WORDS[COMP_CWORD]}" before=("${COMP_WORDS[@]:0:COMP_CWORD}") list
  if [[ $word == -* ]]; then
    list=$("${before[@]}" "$word" --generate-bash-completion 2>/dev/null)
  else
    list=$("${before[@]}" --generate-bash-completion 2>/dev/null)
  fi
  COMPREPLY=($(compgen -W "$list" -- "$word"))
}
complete -o default -F _shammah_engine shammah-engine
`

const zshCompletion = `_shammah_engine() {
  local word="${words[CURRENT]}"
  local -a list
  if [[ $word == -* ]]; then
    list=("${(@f)$("${words[@]:0:$((CURRENT-1))}" "$word" --generate-bash-completion 2>/dev/null)}")
  else
    list=("${(@f)$("${words[@]:0:$((CURRENT-1))}" --generate-bash-completion 2>/dev/null)}")
  fi
  compadd -- $list
  _files
}
compdef _shammah_engine shammah-engine
`
