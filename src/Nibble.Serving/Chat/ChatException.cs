namespace Nibble.Serving.Chat;

/// <summary>Why there is no answer.</summary>
internal enum ChatFailure
{
    /// <summary>As many wait for the model as may.</summary>
    Busy,

    /// <summary>The conversation is none that the model can go on with.</summary>
    Conversation,

    /// <summary>The model is none that can be chatted with.</summary>
    Model,

    /// <summary>The model finds no memory beside jobs and other chats.</summary>
    Memory,

    /// <summary>The answer was ended before it was whole.</summary>
    Ended,

    /// <summary>The model's worker died, or was silent for too long.</summary>
    Worker,
}

/// <summary>A chat that has no answer, in words that whoever chats may read.</summary>
/// <param name="failure">What kind of reason there is.</param>
/// <param name="message">The reason.</param>
/// <param name="code">A word for programs, if the model's worker had one.</param>
internal sealed class ChatException(ChatFailure failure, string message, string? code = null) : Exception(message)
{
    public ChatFailure Failure => failure;

    public string? Code => code;
}
