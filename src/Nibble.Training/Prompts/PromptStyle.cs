namespace Nibble.Training.Prompts;

/// <summary>How records become prompts.</summary>
public enum PromptStyle
{
    /// <summary>Each as its form is usually written: instructions by the Alpaca prompt, chats by the chat template, the rest as it stands.</summary>
    Auto,

    /// <summary>All as instructions by the Alpaca prompt.</summary>
    Alpaca,

    /// <summary>All as conversations by the chat template.</summary>
    Chat,
}
