namespace Nibble.Modeling.ChatTemplates;

/// <summary>A template is malformed, failed, or refused its messages (<c>raise_exception</c>).</summary>
/// <param name="message">For a refusal, the template's own words.</param>
/// <param name="raisedByTemplate">Whether the template itself called <c>raise_exception</c>.</param>
public sealed class ChatTemplateException(string message, bool raisedByTemplate = false) : Exception(message)
{
    /// <summary>Whether the template itself called <c>raise_exception</c>.</summary>
    public bool RaisedByTemplate => raisedByTemplate;
}
