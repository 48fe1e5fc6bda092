namespace Nibble.Data.Validation;

/// <summary>
/// The order of turns that chat templates expect: a system turn or none, then users and assistants in turn; tools answer an
/// assistant, which then goes on; the assistant has the last word.
/// </summary>
internal static class RoleOrder
{
    /// <summary>What is out of order; null where nothing is.</summary>
    public static string? Problem(ChatExample chat)
    {
        string before = "start";
        for (int i = 0; i < chat.Messages.Count; i++)
        {
            string role = (string)chat.Messages[i]!["role"]!;
            bool allowed = role switch
            {
                "system" or "developer" => i == 0,
                "user" => before is "start" or "system" or "developer" or "assistant",
                "tool" => before is "assistant" or "tool",
                _ => before is "user" or "tool",
            };
            if (!allowed)
            {
                return before == "start" ? $"begins with the {role}'s turn" : $"turn {i + 1} is the {role}'s, after the {before}'s";
            }

            before = role;
        }

        return before == "assistant" ? null : $"ends with the {before}'s turn";
    }
}
